// What stands over the points: axes and scale, the net of a sky, rings, names, and what is being selected.

import { inkOf } from "./looks.js";
import { tokenLabel } from "./run.js";

export const MOST_RINGS = 12;

export function drawAxes(pen, mapping, state) {
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

export function drawSky(pen, mapping) {
  const spot = [0, 0, 0];
  pen.strokeStyle = inkOf("rule");
  pen.lineWidth = 1;
  const curve = (points) => {
    pen.beginPath();
    points.forEach(([x, y], place) => {
      mapping.place(x, y, 0, spot);
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

// Rings around black holes: found are a token of each and how many it has, the largest first.
export function drawRings(pen, pixels, found) {
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

// Circles around tokens, with their names.
export function drawNames(pen, run, pixels, tokens) {
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.fillStyle = inkOf("ink");
  for (const token of new Set(tokens)) {
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

export function drawOutline(pen, corners) {
  pen.strokeStyle = inkOf("accent");
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  pen.beginPath();
  corners.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.stroke();
  pen.setLineDash([]);
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

// Newton's method for 2 t + sin 2t = pi * sine.
function auxiliary(sine) {
  let angle = Math.asin(sine);
  for (let round = 0; round < 30; round += 1)
    angle -= (2 * angle + Math.sin(2 * angle) - Math.PI * sine) / (2 + 2 * Math.cos(2 * angle) || 1);
  return angle;
}
