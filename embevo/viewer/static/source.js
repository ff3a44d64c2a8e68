// Where the page gets its data: the server that it came from, a folder of files, the page itself, or a notebook.

export class Unreachable extends Error {}
export class Refused extends Error {}

export class Fetched {
  // Addresses are relative to the page, so that the same page works from a server and from a folder.
  async #get(address) {
    let answer;
    try {
      answer = await fetch(address, { cache: "no-store" });
    } catch (error) {
      throw new Unreachable(`${address} cannot be had: ${error.message}`);
    }
    if (!answer.ok) throw new Refused((await answer.text()) || `${address}: ${answer.status}`);
    return answer;
  }

  async json(address) {
    return (await this.#get(address)).json();
  }

  async bytes(address) {
    return (await this.#get(address)).arrayBuffer();
  }
}

// Files that stand in the page as <script type="application/octet-stream" data-address="..."> in base64.
export class Embedded {
  #files = new Map();

  constructor(elements) {
    for (const element of elements) this.#files.set(element.dataset.address, element);
  }

  async bytes(address) {
    const element = this.#files.get(address);
    if (!element) throw new Refused(`This page does not hold ${address}: embevo view shows it from the run.`);
    const text = atob(element.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
    return bytes.buffer;
  }

  async json(address) {
    return JSON.parse(new TextDecoder().decode(await this.bytes(address)));
  }
}

// What a notebook's server lets through by itself is a million bytes a second, and what is more it drops.
const WINDOW_MS = 3000;
const WINDOW_BYTES = 2000000;
const LATE_MS = 4000;
const AGAIN_MS = 6000;

// Asked of the notebook that has this page in a frame; its kernel answers when it has nothing else to do.
export class Asked {
  #port;
  #open = new Map();
  #last = 0;
  #had = [];
  #late = false;

  constructor(port, { state, theme }) {
    this.#port = port;
    this.state = state;
    this.theme = theme;
    // Told when an answer has been waited for for long, and when it has come.
    this.onLate = () => {};
    this.onTheme = () => {};
    port.onmessage = ({ data }) => (data.theme ? this.onTheme(data.theme) : this.#answered(data));
    setInterval(() => this.#look(), 500);
  }

  static whenConnected() {
    return new Promise((done) => {
      addEventListener("message", ({ source, data, ports }) => {
        if (source === parent && data?.embevo === "port") done(new Asked(ports[0], data));
      });
      parent.postMessage({ embevo: "ready" }, "*");
    });
  }

  // A long answer comes in parts.
  async bytes(address) {
    const first = await this.#part(address, 0);
    if (first.data.byteLength >= first.all) return first.data;
    const whole = new Uint8Array(first.all);
    whole.set(new Uint8Array(first.data));
    for (let from = first.data.byteLength; from < first.all;) {
      const { data, all } = await this.#part(address, from);
      if (all !== first.all || !data.byteLength) throw new Refused(`${address} has changed while it was sent: ask for it again.`);
      whole.set(new Uint8Array(data), from);
      from += data.byteLength;
    }
    return whole.buffer;
  }

  async #part(address, from) {
    await this.#room();
    this.#last += 1;
    const number = this.#last;
    return new Promise((done, refused) => {
      this.#open.set(number, { address, from, done, refused, since: Date.now(), asked: Date.now() });
      this.#port.postMessage({ number, address, from });
    });
  }

  async json(address) {
    return JSON.parse(new TextDecoder().decode(await this.bytes(address)));
  }

  #answered({ number, refused, data, all }) {
    const waiting = this.#open.get(number);
    if (!waiting) return;
    this.#open.delete(number);
    this.#look();
    if (refused !== undefined) waiting.refused(new Refused(refused));
    else {
      this.#had.push([Date.now(), data.byteLength]);
      waiting.done({ data, all });
    }
  }

  #look() {
    const now = Date.now();
    const late = [...this.#open.values()].some(({ since }) => now - since > LATE_MS);
    if (late !== this.#late) {
      this.#late = late;
      this.onLate(late);
    }
    for (const [number, waiting] of this.#open)
      if (now - waiting.asked > AGAIN_MS) {
        waiting.asked = now;
        this.#port.postMessage({ number, address: waiting.address, from: waiting.from });
      }
  }

  // Wait until less was sent lately than what is let through.
  async #room() {
    for (;;) {
      const now = Date.now();
      this.#had = this.#had.filter(([at]) => now - at < WINDOW_MS);
      const bytes = this.#had.reduce((sum, [, length]) => sum + length, 0);
      if (bytes < WINDOW_BYTES) return;
      await new Promise((done) => setTimeout(done, 100));
    }
  }
}

export async function sourceOfThisPage() {
  if (document.querySelector('meta[name="embevo-source"][content="notebook"]')) return Asked.whenConnected();
  const embedded = document.querySelectorAll("script[data-address]");
  return embedded.length ? new Embedded(embedded) : new Fetched();
}
