// One run: what is known of it, and the pieces of it that the page holds.

import { Piece } from "./piece.js";

const MOST_BYTES = 192 * 1024 * 1024;
// Requests that are under way at once.
const MOST_REQUESTS = 4;

export class Run {
  #source;
  #pieces = new Map();
  #asked = new Map();
  #bytes = 0;
  #changed;
  #failed;
  #early = null;

  constructor(source, number, meta, { changed, failed }) {
    this.#source = source;
    this.#changed = changed;
    this.#failed = failed;
    this.number = number;
    this.meta = meta;
    this.steps = meta.steps;
    this.view = null;
    // Positions of the selected tokens, and which tokens of the first run these are.
    this.selected = new Set();
    this.twins = null;
    this.charts = { charts: [], offered: [], events: [], measuring: null, waits: 0, failure: "" };
    // Charts beside the usual ones, by name, as far as they were asked for.
    this.more = new Map();
  }

  // A view that is sure to be wanted is asked for at the same time.
  static async open(source, number, handlers, view) {
    const asked = source.json(`data/${number}/view/${view}/view.json`);
    // Whether it can be had is said to whoever wants it.
    asked.catch(() => {});
    const run = new Run(source, number, await source.json(`data/${number}/run.json`), handlers);
    run.#early = { view, asked };
    return run;
  }

  get rows() {
    return this.steps.length;
  }

  get tokens() {
    return this.meta.tokens;
  }

  address(rest) {
    return `data/${this.number}/${rest}`;
  }

  // Positions here of tokens of the first run; those that are not here are left out.
  here(tokens) {
    return this.twins ? [...tokens].map((token) => this.twins.there[token] ?? -1).filter((token) => token >= 0) : [...tokens];
  }

  // The other way round.
  inFirst(tokens) {
    return this.twins ? [...tokens].map((token) => this.twins.back[token] ?? -1).filter((token) => token >= 0) : [...tokens];
  }

  async tell(rest) {
    return this.#source.json(this.address(rest));
  }

  // What was measured, and of the further charts those of some names that there are.
  async measured(names) {
    const charts = await this.tell("charts.json");
    if (charts.measured_rows !== this.charts.measured_rows) this.more.clear();
    this.charts = charts;
    await this.bring(names);
  }

  async bring(names) {
    for (const name of names)
      if (!this.more.has(name) && this.charts.offered.some((one) => one.name === name)) this.more.set(name, await this.tell(`charts/${name}.json`));
  }

  // The charts that are shown, those that were chosen first.
  shown(names) {
    return [...names.filter((name) => this.more.has(name)).map((name) => this.more.get(name)), ...this.charts.charts];
  }

  async see(view) {
    const early = this.#early?.view === view ? this.#early.asked : null;
    this.#early = null;
    this.view = await (early ?? this.tell(`view/${view}/view.json`));
    return this.view;
  }

  // The last row at or before a step; the first row where all are later.
  rowAt(step) {
    let low = 0;
    let high = this.rows - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.steps[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // The places of a row, or null while they are on their way.
  places(row, out) {
    const piece = this.#piece(`view/${this.view.name}`, row);
    return piece ? piece.row(row % this.meta.piece_rows, out) : null;
  }

  same(row) {
    const piece = this.#piece("holes", row);
    return piece ? piece.same(row % this.meta.piece_rows) : null;
  }

  // Ask for what comes soon, so that playing does not wait for it.
  prepare(row, rings) {
    for (const kind of rings ? [`view/${this.view.name}`, "holes"] : [`view/${this.view.name}`])
      if (row >= 0 && row < this.rows) this.#piece(kind, row);
  }

  grow(steps) {
    this.steps.push(...steps);
  }

  #piece(kind, row) {
    const number = Math.floor(row / this.meta.piece_rows);
    const key = `${kind}/piece-${number}.bin`;
    const held = this.#pieces.get(key);
    const needed = (row % this.meta.piece_rows) + 1;
    if (held && held.rows >= needed) {
      // The last used one is the last to be let go of.
      this.#pieces.delete(key);
      this.#pieces.set(key, held);
      return held;
    }
    if (!this.#asked.has(key) && this.#asked.size < MOST_REQUESTS) this.#ask(key);
    return null;
  }

  async #ask(key) {
    this.#asked.set(key, true);
    try {
      const piece = new Piece(await this.#source.bytes(this.address(key)));
      const before = this.#pieces.get(key);
      if (before) this.#bytes -= before.bytes;
      this.#pieces.delete(key);
      this.#pieces.set(key, piece);
      this.#bytes += piece.bytes;
      for (const [old, held] of this.#pieces) {
        if (this.#bytes <= MOST_BYTES || old === key) break;
        this.#pieces.delete(old);
        this.#bytes -= held.bytes;
      }
      this.#asked.delete(key);
      this.#changed();
    } catch (error) {
      this.#failed(error);
      // Not asked for again at once: whatever is wrong is not mended in a moment.
      setTimeout(() => { this.#asked.delete(key); this.#changed(); }, 1500);
    }
  }
}

// Token names: what to call one where there is a label, an id, or both.
export function tokenId(run, token) {
  return run.meta.token_ids ? run.meta.token_ids[token] : token;
}

export function tokenLabel(run, token) {
  return run.meta.labels[token];
}
