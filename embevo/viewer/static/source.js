// Where the page gets its data: the server that it came from, a folder of files, or the page itself.

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

export function sourceOfThisPage() {
  const embedded = document.querySelectorAll("script[data-address]");
  return embedded.length ? new Embedded(embedded) : new Fetched();
}
