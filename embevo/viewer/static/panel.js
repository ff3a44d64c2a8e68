// One picture of the cloud: points and trails by WebGL, and over them axes, rings and names.

import { Mapping } from "./camera.js";
import { writeCaption } from "./caption.js";
import { PALER, groupsOf, looksOf } from "./looks.js";
import { drawAxes, drawNames, drawRings, drawSky } from "./overlay.js";
import { Points } from "./points.js";

const REACH = 14;
const MOST_TRAIL_POINTS = 400000;
const MOST_NAMES = 200;

export class Panel {
  constructor(stage, runs) {
    this.runs = runs;
    this.element = document.createElement("div");
    this.element.className = "panel";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.over = document.createElement("canvas");
    this.over.className = "over";
    this.over.setAttribute("aria-hidden", "true");
    this.caption = document.createElement("p");
    this.caption.className = "caption";
    this.element.append(this.canvas, this.over, this.caption);
    stage.append(this.element);
    this.points = new Points(this.canvas);
    this.pen = this.over.getContext("2d");
    this.shown = runs.map(() => null);
    // Black holes that are ringed, as far as there is room.
    this.found = runs.map(() => []);
  }

  // Groups, colours and sizes; again when the theme or what is hidden changes.
  dress(hidden) {
    this.dressed = this.runs.map((run, place) => {
      const groups = groupsOf(run);
      const looks = looksOf(run, groups, hidden);
      if (place > 0)
        for (let token = 0; token < run.tokens; token += 1) {
          looks.colours[4 * token + 3] *= PALER;
          looks.looks[2 * token + 1] = 4;
        }
      return { groups, ...looks };
    });
  }

  // Draw what the state says; returns whether anything is still on its way.
  draw(state) {
    const box = this.element.getBoundingClientRect();
    const [width, height] = [Math.max(1, box.width), Math.max(1, box.height)];
    const density = Math.min(2, devicePixelRatio || 1);
    this.points.resize(width, height, density);
    // To give a canvas its size takes long, also where it has it.
    if (this.over.width !== this.canvas.width || this.over.height !== this.canvas.height) {
      this.over.width = this.canvas.width;
      this.over.height = this.canvas.height;
    }
    this.pen.setTransform(density, 0, 0, density, 0, 0);
    this.pen.clearRect(0, 0, width + 1, height + 1);
    let waiting = false;
    this.runs.forEach((run, place) => {
      const row = run.rowAt(state.step);
      const found = this.#take(run, place, row, state);
      waiting ||= !found;
    });
    this.#map(state, width, height);
    this.points.clear();
    if (state.view.startsWith("sky")) drawSky(this.pen, this.mapping);
    else if (this.runs[0].view) drawAxes(this.pen, this.mapping, state);
    this.runs.forEach((run, place) => {
      if (!this.shown[place]) return;
      if (state.trail) this.#trails(run, place, state);
      this.#points(run, place, state);
    });
    this.runs.forEach((run, place) => {
      if (!this.shown[place]) return;
      const { pixels } = this.shown[place];
      this.found[place] = state.rings ? this.holes(place) : [];
      drawRings(this.pen, pixels, this.found[place]);
      const named = [...run.selected].slice(0, MOST_NAMES);
      if (state.hover && state.hover.panel === this && state.hover.place === place) named.push(state.hover.token);
      drawNames(this.pen, run, pixels, named);
    });
    writeCaption(this, state, waiting);
    return waiting;
  }

  // Take the places of a row; of a row that is not there yet, those that are shown stay, and the caption says so.
  #take(run, place, row, state) {
    if (!run.view) return false;
    const size = 3 * run.tokens;
    let shown = this.shown[place];
    if (!shown || shown.places.length !== size)
      shown = { places: new Float32Array(size), pixels: new Float32Array(size), row: -1, view: "", share: 0 };
    const fresh = run.places(row, new Float32Array(size));
    const [from, to] = [run.steps[row], run.steps[Math.min(row + 1, run.rows - 1)]];
    run.prepare(row + (state.backwards ? -1 : 1) * run.meta.piece_rows, state.rings);
    if (!fresh) {
      if (shown.view !== run.view.name) this.shown[place] = null;
      return false;
    }
    shown.share = 0;
    if (state.between && to > from && state.step > from) {
      const next = run.places(row + 1, new Float32Array(size));
      const share = Math.min(1, (state.step - from) / (to - from));
      if (next) {
        for (let at = 0; at < size; at += 1) fresh[at] += share * (next[at] - fresh[at]);
        shown.share = share;
      }
    }
    Object.assign(shown, { places: fresh, row, view: run.view.name, same: run.same(row) });
    this.shown[place] = shown;
    return true;
  }

  #map(state, width, height) {
    let [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
    this.runs.forEach((run, place) => {
      if (!run.view) return;
      const shown = this.shown[place];
      if (state.frame === "box" && shown && !state.view.startsWith("sky")) {
        const [least, most] = extent(shown.places);
        low = low.map((value, axis) => Math.min(value, least[axis]));
        high = high.map((value, axis) => Math.max(value, most[axis]));
        return;
      }
      low = low.map((value, axis) => Math.min(value, run.view.low[axis]));
      high = high.map((value, axis) => Math.max(value, run.view.high[axis]));
    });
    if (state.scale && state.frame !== "box") [low, high] = state.scale;
    if (!low.every(Number.isFinite)) [low, high] = [[-1, -1, -1], [1, 1, 1]];
    const flat = state.flat || state.view.startsWith("sky");
    this.mapping = new Mapping({ low, high, width, height, camera: state.camera, flat });
    if (state.frame === "centroid" && this.shown[0] && !state.view.startsWith("sky"))
      this.mapping.middle = centroid(this.shown[0].places);
    for (const shown of this.shown) if (shown) this.mapping.all(shown.places, shown.pixels);
  }

  #points(run, place, state) {
    const { colours, looks } = this.dressed[place];
    const { pixels } = this.shown[place];
    if (!state.selected.size) {
      this.points.points(pixels, colours, looks);
      return;
    }
    const faint = colours.slice();
    for (let token = 0; token < run.tokens; token += 1)
      if (!run.selected.has(token)) faint[4 * token + 3] *= 0.28;
      else faint[4 * token + 3] = faint[4 * token + 3] ? 1 : 0;
    this.points.points(pixels, faint, looks);
  }

  #trails(run, place, state) {
    const { colours } = this.dressed[place];
    const last = this.shown[place].row;
    const chosen = state.selected.size ? [...run.selected] : null;
    const tokens = chosen ?? [...Array(run.tokens).keys()].filter((token) => colours[4 * token + 3] > 0);
    const rows = Math.min(state.trail, last, Math.max(2, Math.floor(MOST_TRAIL_POINTS / Math.max(1, tokens.length))));
    this.trailRows = rows;
    if (rows < 1) return;
    const ends = new Float32Array(6 * rows * tokens.length);
    const tints = new Float32Array(8 * rows * tokens.length);
    const spot = [0, 0, 0];
    let [before, now] = [new Float32Array(3 * run.tokens), new Float32Array(3 * run.tokens)];
    let count = 0;
    let held = run.places(last - rows, before) !== null;
    for (let row = last - rows + 1; row <= last; row += 1) {
      const there = run.places(row, now) !== null;
      const fade = ((row - last + rows) / rows) ** 1.5 * 0.75;
      if (held && there)
        for (const token of tokens) {
          for (const [end, places] of [[0, before], [1, now]]) {
            this.mapping.place(places[3 * token], places[3 * token + 1], places[3 * token + 2], spot);
            ends.set(spot, 3 * (count + end));
            tints.set([colours[4 * token], colours[4 * token + 1], colours[4 * token + 2], fade], 4 * (count + end));
          }
          count += 2;
        }
      [before, now] = [now, before];
      held = there;
    }
    this.points.lines(ends.subarray(0, 3 * count), tints.subarray(0, 4 * count), count);
  }

  // The black holes that are shown: position of a token of each, how many tokens it has.
  holes(place) {
    const same = this.shown[place]?.same;
    if (!same) return [];
    const sizes = new Map();
    for (const first of same) sizes.set(first, (sizes.get(first) ?? 0) + 1);
    return [...sizes].filter(([, count]) => count > 1).sort((a, b) => b[1] - a[1]);
  }

  // The token nearest to a pixel, or null.
  pick(x, y) {
    let best = null;
    let nearest = REACH * REACH;
    this.shown.forEach((shown, place) => {
      if (!shown) return;
      const { colours } = this.dressed[place];
      for (let token = 0; token < colours.length / 4; token += 1) {
        if (!colours[4 * token + 3]) continue;
        const away = (shown.pixels[3 * token] - x) ** 2 + (shown.pixels[3 * token + 1] - y) ** 2;
        if (away < nearest) {
          nearest = away;
          best = { panel: this, place, token };
        }
      }
    });
    return best;
  }

  // The tokens of the first run inside a polygon of pixels.
  inside(corners) {
    const shown = this.shown[0];
    if (!shown) return [];
    const { colours } = this.dressed[0];
    const found = [];
    for (let token = 0; token < this.runs[0].tokens; token += 1) {
      if (!colours[4 * token + 3]) continue;
      const [x, y] = [shown.pixels[3 * token], shown.pixels[3 * token + 1]];
      let within = false;
      for (let at = 0, before = corners.length - 1; at < corners.length; before = at, at += 1) {
        const [[ax, ay], [bx, by]] = [corners[at], corners[before]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
      }
      if (within) found.push(token);
    }
    return found;
  }
}

function extent(places) {
  const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
  for (let at = 0; at < places.length; at += 1) {
    const value = places[at];
    if (value < low[at % 3]) low[at % 3] = value;
    if (value > high[at % 3]) high[at % 3] = value;
  }
  return [low, high];
}

function centroid(places) {
  const sum = [0, 0, 0];
  let count = 0;
  for (let at = 0; at < places.length; at += 3) {
    if (!Number.isFinite(places[at] + places[at + 1] + places[at + 2])) continue;
    for (let axis = 0; axis < 3; axis += 1) sum[axis] += places[at + axis];
    count += 1;
  }
  return sum.map((total) => (count ? total / count : 0));
}
