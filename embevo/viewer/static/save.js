// What is shown, as files: a picture in pixels, one of shapes, and the ways of the selected tokens.

import { inkOf } from "./looks.js";
import { tokenId, tokenLabel } from "./run.js";

const MOST_ADDRESS = 60000;

export async function savePng(app) {
  const boxes = app.panels.map((panel) => panel.canvas);
  const picture = document.createElement("canvas");
  picture.width = boxes.reduce((sum, canvas) => sum + canvas.width, 0);
  picture.height = Math.max(...boxes.map((canvas) => canvas.height));
  const pen = picture.getContext("2d");
  pen.fillStyle = inkOf("stage");
  pen.fillRect(0, 0, picture.width, picture.height);
  let left = 0;
  for (const panel of app.panels) {
    pen.drawImage(panel.canvas, left, 0);
    pen.drawImage(panel.over, left, 0);
    pen.fillStyle = inkOf("ink");
    pen.font = `${13 * panel.points.density}px system-ui, sans-serif`;
    panel.caption.innerText.split("\n").forEach((line, row) => pen.fillText(line, left + 14, (22 + 17 * row) * panel.points.density));
    left += panel.canvas.width;
  }
  const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
  return offer(blob, name(app, "png"));
}

export function saveSvg(app) {
  const parts = [];
  let left = 0;
  let tallest = 0;
  for (const panel of app.panels) {
    const { width, height } = panel.mapping;
    tallest = Math.max(tallest, height);
    const clip = `panel-${parts.length}`;
    parts.push(`<clipPath id="${clip}"><rect width="${width}" height="${height}"/></clipPath><g transform="translate(${left} 0)"><g clip-path="url(#${clip})">`);
    panel.runs.forEach((run, place) => {
      const shown = panel.shown[place];
      if (!shown) return;
      const { colours, looks } = panel.dressed[place];
      for (let token = 0; token < run.tokens; token += 1) {
        const [x, y] = [shown.pixels[3 * token], shown.pixels[3 * token + 1]];
        const opacity = colours[4 * token + 3];
        if (!opacity || !Number.isFinite(x)) continue;
        const rgb = [0, 1, 2].map((part) => Math.round(255 * colours[4 * token + part])).join(",");
        parts.push(shape(looks[2 * token + 1], x, y, looks[2 * token] / 2, `rgb(${rgb})`, opacity, `${tokenLabel(run, token)} ${tokenId(run, token)}`));
      }
    });
    parts.push("</g>");
    panel.caption.innerText.split("\n").forEach((line, row) =>
      parts.push(`<text x="12" y="${20 + 16 * row}" font-family="sans-serif" font-size="12" fill="${inkOf("ink")}">${escaped(line)}</text>`));
    parts.push("</g>");
    left += width;
  }
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${left}" height="${tallest}" viewBox="0 0 ${left} ${tallest}"><rect width="100%" height="100%" fill="${inkOf("stage")}"/>${parts.join("")}</svg>`;
  return offer(new Blob([svg], { type: "image/svg+xml" }), name(app, "svg"));
}

function shape(kind, x, y, radius, fill, opacity, title) {
  const how = `fill="${fill}" fill-opacity="${opacity.toFixed(2)}"`;
  const told = `<title>${escaped(title)}</title>`;
  const [cx, cy, r] = [x.toFixed(2), y.toFixed(2), radius.toFixed(2)];
  if (kind === 1) return `<rect x="${(x - radius * 0.82).toFixed(2)}" y="${(y - radius * 0.82).toFixed(2)}" width="${(1.64 * radius).toFixed(2)}" height="${(1.64 * radius).toFixed(2)}" ${how}>${told}</rect>`;
  if (kind === 2) return `<path d="M${cx} ${(y - radius).toFixed(2)}l${(radius * 0.9).toFixed(2)} ${(radius * 1.6).toFixed(2)}h${(-1.8 * radius).toFixed(2)}Z" ${how}>${told}</path>`;
  if (kind === 3) return `<path d="M${cx} ${(y - radius).toFixed(2)}l${r} ${r} ${-r} ${r} ${-r} ${-r}Z" ${how}>${told}</path>`;
  if (kind === 4) return `<circle cx="${cx}" cy="${cy}" r="${r}" fill="none" stroke="${fill}" stroke-opacity="${opacity.toFixed(2)}" stroke-width="1.5">${told}</circle>`;
  return `<circle cx="${cx}" cy="${cy}" r="${r}" ${how}>${told}</circle>`;
}

// The places of the selected tokens in this view, at every recorded step, as comma-separated values.
export async function saveCsv(app, wait) {
  const tokens = [...app.state.selected];
  const [run] = app.runs;
  if (!tokens.length) return "Select tokens first: their ways are what is saved.";
  const lines = [["step", ...tokens.flatMap((token) => ["x", "y", "z"].map((axis) => quoted(`${tokenLabel(run, token)} ${tokenId(run, token)} ${axis}`)))].join(",")];
  const places = new Float32Array(3 * run.tokens);
  for (let row = 0; row < run.rows; row += 1) {
    while (!run.places(row, places)) await wait();
    lines.push([run.steps[row], ...tokens.flatMap((token) => [0, 1, 2].map((axis) => places[3 * token + axis]))].join(","));
  }
  return offer(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }), name(app, "csv"));
}

// All numbers of the selected tokens at every recorded step, as a zip that zarr opens; made where the run is.
export async function saveZarr(app) {
  const tokens = [...app.state.selected].sort((a, b) => a - b);
  const [run] = app.runs;
  if (!tokens.length) return "Select tokens first: their vectors are what is saved.";
  const address = run.address(`tokens/${ranges(tokens)}/way.zip`);
  if (address.length > MOST_ADDRESS) return "So many tokens, not beside each other, cannot be named in one request: select fewer.";
  return offer(new Blob([await app.source.bytes(address)], { type: "application/zip" }), `${run.meta.name.replaceAll("/", "-")}-${tokens.length}-tokens.zarr.zip`);
}

// 0-3.7 for 0, 1, 2, 3, 7.
function ranges(tokens) {
  const parts = [];
  for (const token of tokens) {
    const last = parts.at(-1);
    if (last && last[1] === token - 1) last[1] = token;
    else parts.push([token, token]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(".");
}

function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "?");
}

function name(app, ending) {
  const run = app.runs[0].meta.name.replaceAll("/", "-");
  return `${run}-${app.state.view}-step-${Math.round(app.state.step)}.${ending}`;
}

export function offer(blob, file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return `Saved ${file}.`;
}
