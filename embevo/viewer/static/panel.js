// One picture of the cloud: points and trails by WebGL, and over them axes, rings and names.

import { Mapping } from "./camera.js";
import { PALER, groupsOf, inkOf, looksOf } from "./looks.js";
import { Points } from "./points.js";
import { tokenLabel } from "./run.js";

const REACH = 14;
const MOST_TRAIL_POINTS = 400000;
const MOST_RINGS = 12;

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
    this.over.width = this.canvas.width;
    this.over.height = this.canvas.height;
    this.pen.setTransform(density, 0, 0, density, 0, 0);
    let waiting = false;
    this.runs.forEach((run, place) => {
      const row = run.rowAt(state.step);
      const found = this.#take(run, place, row, state);
      waiting ||= !found;
    });
    this.#map(state, width, height);
    this.points.clear();
    if (!state.view.startsWith("sky")) this.#axes(state);
    else this.#sky();
    this.runs.forEach((run, place) => {
      if (!this.shown[place]) return;
      if (state.trail) this.#trails(run, place, state);
      this.#points(run, place, state);
    });
    this.runs.forEach((run, place) => {
      if (!this.shown[place]) return;
      if (state.rings) this.#rings(run, place);
      this.#names(run, place, state);
    });
    this.#say(state, waiting);
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

  #axes(state) {
    const pen = this.pen;
    const view = this.runs[0].view;
    if (!view) return;
    const mapping = this.mapping;
    const origin = [46, mapping.height - 34];
    const length = 34;
    pen.lineWidth = 1.2;
    pen.font = "11px system-ui, sans-serif";
    const soft = inkOf("soft");
    pen.strokeStyle = soft;
    pen.fillStyle = soft;
    pen.textBaseline = "middle";
    for (let axis = 0; axis < (state.flat ? 2 : 3); axis += 1) {
      const [dx, dy] = [mapping.turn[axis] * length, -mapping.turn[3 + axis] * length];
      pen.beginPath();
      pen.moveTo(...origin);
      pen.lineTo(origin[0] + dx, origin[1] + dy);
      pen.stroke();
      pen.textAlign = dx < -4 ? "right" : "left";
      if (Math.hypot(dx, dy) > 6) pen.fillText("xyz"[axis], origin[0] + dx * 1.22, origin[1] + dy * 1.22);
    }
    // How long a piece of the picture is.
    const wanted = 90 / mapping.unit;
    const decade = 10 ** Math.floor(Math.log10(wanted));
    const size = [5, 2, 1].map((times) => times * decade).find((value) => value <= wanted) ?? decade;
    const [right, bottom] = [mapping.width - 16, mapping.height - 18];
    pen.beginPath();
    pen.moveTo(right - size * mapping.unit, bottom);
    pen.lineTo(right, bottom);
    pen.moveTo(right, bottom - 4);
    pen.lineTo(right, bottom + 4);
    pen.moveTo(right - size * mapping.unit, bottom - 4);
    pen.lineTo(right - size * mapping.unit, bottom + 4);
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(`${Number(size.toPrecision(3))} embedding units`, right, bottom - 12);
  }

  #sky() {
    const pen = this.pen;
    const spot = [0, 0, 0];
    pen.strokeStyle = inkOf("rule");
    pen.lineWidth = 1;
    const curve = (points) => {
      pen.beginPath();
      points.forEach(([x, y], place) => {
        this.mapping.place(x, y, 0, spot);
        if (place) pen.lineTo(spot[0], spot[1]);
        else pen.moveTo(spot[0], spot[1]);
      });
      pen.stroke();
    };
    for (let meridian = -6; meridian <= 6; meridian += 1)
      curve([...Array(61).keys()].map((k) => {
        const angle = (k / 60 - 0.5) * Math.PI;
        return [(2 * Math.SQRT2 * meridian / 6) * Math.cos(angle), Math.SQRT2 * Math.sin(angle)];
      }));
    for (const sine of [-Math.sqrt(3) / 2, -0.5, 0, 0.5, Math.sqrt(3) / 2]) {
      const angle = auxiliary(sine);
      const x = 2 * Math.SQRT2 * Math.cos(angle);
      curve([[-x, Math.SQRT2 * Math.sin(angle)], [x, Math.SQRT2 * Math.sin(angle)]]);
    }
  }

  // The black holes that are shown: position of a token of each, how many tokens it has.
  holes(place) {
    const same = this.shown[place]?.same;
    if (!same) return [];
    const sizes = new Map();
    for (const first of same) sizes.set(first, (sizes.get(first) ?? 0) + 1);
    return [...sizes].filter(([, count]) => count > 1).sort((a, b) => b[1] - a[1]);
  }

  #rings(run, place) {
    const pen = this.pen;
    const { pixels } = this.shown[place];
    const found = this.holes(place);
    pen.strokeStyle = inkOf("ink");
    pen.fillStyle = inkOf("ink");
    pen.lineWidth = 1.2;
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    const taken = [];
    for (const [token, count] of found.slice(0, MOST_RINGS)) {
      const radius = Math.min(34, 6 + 1.1 * Math.sqrt(count));
      const [x, y] = [pixels[3 * token], pixels[3 * token + 1]];
      if (!Number.isFinite(x)) continue;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
      // A count that would lie over another is told by pointing.
      const top = y - radius - 2;
      if (taken.some(([left, above]) => Math.abs(left - x) < 26 && Math.abs(above - top) < 14)) continue;
      taken.push([x, top]);
      written(pen, count.toLocaleString("en"), x, top);
    }
  }

  #names(run, place, state) {
    const pen = this.pen;
    const { pixels } = this.shown[place];
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = inkOf("ink");
    const named = [...run.selected].slice(0, 200);
    if (state.hover && state.hover.panel === this && state.hover.place === place) named.push(state.hover.token);
    for (const token of new Set(named)) {
      if (token >= run.tokens) continue;
      const [x, y] = [pixels[3 * token], pixels[3 * token + 1]];
      if (!Number.isFinite(x)) continue;
      pen.strokeStyle = inkOf("ink");
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.arc(x, y, 7, 0, 2 * Math.PI);
      pen.stroke();
      pen.textAlign = "left";
      written(pen, tokenLabel(run, token), x + 11, y);
    }
  }

  #say(state, waiting) {
    const told = this.runs.map((run, place) => {
      const shown = this.shown[place];
      const at = shown ? run.steps[shown.row] : null;
      const between = shown?.share ? ` + ${shown.share.toFixed(2)} of the way to ${run.steps[shown.row + 1].toLocaleString("en")}` : "";
      return { name: run.meta.name, at: at === null ? "" : `step ${at.toLocaleString("en")}${between}`, of: run };
    });
    this.caption.replaceChildren();
    for (const [place, { name, at, of }] of told.entries()) {
      const line = document.createElement("span");
      const step = document.createElement("b");
      step.textContent = at;
      const mark = this.runs.length > 1 ? (place ? " (rings)" : " (filled)") : "";
      line.append(step, ` ${name}${mark}`);
      if (waiting) line.append(" · loading");
      if (place || of.view) line.append(document.createElement("br"));
      this.caption.append(line);
    }
    const view = this.runs[0].view;
    if (view) {
      const axes = view.labels.slice(0, state.flat || state.view.startsWith("sky") ? 2 : 3)
        .map((label, axis) => (label ? `${"xyz"[axis]}: ${label}` : "")).filter(Boolean);
      this.caption.append(axes.join(" · "), ` · ${view.fitted}`);
      if (this.trailRows !== undefined && state.trail > this.trailRows && this.shown[0] && this.shown[0].row > this.trailRows)
        this.caption.append(document.createElement("br"), `trails of ${this.trailRows} rows: select tokens for longer ones`);
      for (const { meta } of this.runs)
        if (meta.rows < meta.recorded_rows)
          this.caption.append(document.createElement("br"), `${meta.rows.toLocaleString("en")} of the ${meta.recorded_rows.toLocaleString("en")} recorded steps are on this page`);
      if (view.range_rows < view.rows)
        this.caption.append(document.createElement("br"), `axes span ${view.range_rows} of ${view.rows.toLocaleString("en")} steps`);
    }
    this.canvas.setAttribute("aria-label", `Cloud of ${this.runs.map((run) => `${run.tokens.toLocaleString("en")} tokens of ${run.meta.name}`).join(" and ")}, ${told.map((part) => part.at).join(" and ")}`);
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

  outline(corners) {
    const pen = this.pen;
    pen.strokeStyle = inkOf("accent");
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    corners.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.stroke();
    pen.setLineDash([]);
  }
}

function written(pen, text, x, y) {
  const ink = pen.fillStyle;
  pen.lineWidth = 3;
  pen.strokeStyle = inkOf("stage");
  pen.strokeText(text, x, y);
  pen.fillStyle = ink;
  pen.fillText(text, x, y);
  pen.lineWidth = 1.2;
  pen.strokeStyle = inkOf("ink");
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

// Newton's method for 2 t + sin 2t = pi * sine.
function auxiliary(sine) {
  let angle = Math.asin(sine);
  for (let round = 0; round < 30; round += 1)
    angle -= (2 * angle + Math.sin(2 * angle) - Math.PI * sine) / (2 + 2 * Math.cos(2 * angle) || 1);
  return angle;
}
