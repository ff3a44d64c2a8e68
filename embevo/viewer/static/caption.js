// The words in the corner of a picture: which step of which run, along which axes, and what is not all there is.

import { MOST_RINGS } from "./overlay.js";

export function writeCaption(panel, state, waiting) {
  const told = panel.runs.map((run, place) => {
    const shown = panel.shown[place];
    const at = shown ? run.steps[shown.row] : null;
    const between = shown?.share ? ` + ${shown.share.toFixed(2)} of the way to ${run.steps[shown.row + 1].toLocaleString("en")}` : "";
    return { name: run.meta.name, at: at === null ? "" : `step ${at.toLocaleString("en")}${between}`, of: run };
  });
  panel.caption.replaceChildren();
  for (const [place, { name, at, of }] of told.entries()) {
    const line = document.createElement("span");
    const step = document.createElement("b");
    step.textContent = at;
    const mark = panel.runs.length > 1 ? (place ? " (rings)" : " (filled)") : "";
    line.append(step, ` ${name}${mark}`);
    if (waiting) line.append(" · loading");
    if (place || of.view) line.append(document.createElement("br"));
    panel.caption.append(line);
  }
  const view = panel.runs[0].view;
  if (view) {
    const axes = view.labels.slice(0, state.flat || state.view.startsWith("sky") ? 2 : 3)
      .map((label, axis) => (label ? `${"xyz"[axis]}: ${label}` : "")).filter(Boolean);
    const how = document.createElement("span");
    how.className = "how";
    how.append(`${axes.join(" · ")} · ${view.fitted}`);
    panel.caption.append(how);
    if (panel.trailRows !== undefined && state.trail > panel.trailRows && panel.shown[0] && panel.shown[0].row > panel.trailRows)
      panel.caption.append(document.createElement("br"), `trails of ${panel.trailRows} rows: select tokens for longer ones`);
    for (const found of panel.found)
      if (found.length > MOST_RINGS)
        panel.caption.append(document.createElement("br"), `rings around the ${MOST_RINGS} largest of ${found.length.toLocaleString("en")} black holes`);
    for (const { meta } of panel.runs)
      if (meta.rows < meta.recorded_rows)
        panel.caption.append(document.createElement("br"), `${meta.rows.toLocaleString("en")} of the ${meta.recorded_rows.toLocaleString("en")} recorded steps are on this page`);
    if (view.range_rows < view.rows) {
      const some = view.range_tokens < panel.runs[0].tokens ? `, of all but the last ones ${view.range_tokens.toLocaleString("en")} tokens` : "";
      panel.caption.append(document.createElement("br"), `axes span ${view.range_rows} of ${view.rows.toLocaleString("en")} steps${some}`);
    }
  }
  panel.canvas.setAttribute("aria-label", `Cloud of ${panel.runs.map((run) => `${run.tokens.toLocaleString("en")} tokens of ${run.meta.name}`).join(" and ")}, ${told.map((part) => part.at).join(" and ")}`);
}
