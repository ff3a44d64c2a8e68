// Mouse, pen and fingers on the cloud: turning, moving, enlarging, pointing and selecting.

import { drawOutline } from "./overlay.js";

const CLICK = 5;

export function bindDragging(app) {
  app.bindPanels = () => app.panels.forEach((panel) => bind(app, panel));
  app.bindPanels();
}

function bind(app, panel) {
  const { canvas } = panel;
  const { state } = app;
  const down = new Map();
  let corners = null;
  let path = 0;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  app.overlay = () => { for (const one of app.panels) if (one.corners) drawOutline(one.pen, one.corners); };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    path = down.size > 1 ? Infinity : 0;
    corners = state.tool === "turn" || down.size > 1 ? null : [at(event)];
    tip(app, null);
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = down.get(event.pointerId);
    if (!before) {
      point(app, panel, now, event);
      return;
    }
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    path += Math.hypot(dx, dy);
    if (corners && down.size === 1) {
      if (state.tool === "box") {
        const [x, y] = corners[0];
        corners = [[x, y], [now[0], y], now, [x, now[1]]];
      } else corners.push(now);
      panel.corners = corners;
    } else if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      const is = Math.hypot(now[0] - other[0], now[1] - other[1]);
      if (was > 0) zoom(panel, state, is / was, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      shift(panel, state, dx / 2, dy / 2);
    } else if (state.flat || state.view.startsWith("sky") || event.shiftKey || event.buttons & 6) shift(panel, state, dx, dy);
    else state.camera.rotate(dx * 0.008, dy * 0.008);
    down.set(event.pointerId, now);
    app.redraw();
  });

  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (corners && path > CLICK) app.select(panel.runs[0].inFirst(panel.inside(corners)), { add: event.shiftKey });
    else if (path <= CLICK && event.type === "pointerup") {
      const found = panel.pick(...at(event));
      if (found) app.pick(panel.runs[found.place], found.token, event.shiftKey);
      else if (!event.shiftKey) app.select([]);
    }
    corners = null;
    panel.corners = null;
    app.redraw();
    app.remember();
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => { tip(app, null); });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(panel, state, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), at(event));
    app.redraw();
    app.remember();
  }, { passive: false });
}

function shift(panel, state, dx, dy) {
  state.camera.shift[0] += dx / panel.mapping.width;
  state.camera.shift[1] += dy / panel.mapping.height;
}

// What is under the pointer stays there.
function zoom(panel, state, times, [x, y]) {
  const { width, height } = panel.mapping;
  const wanted = Math.min(1e5, Math.max(0.05, state.camera.zoom * times));
  const factor = wanted / state.camera.zoom;
  state.camera.zoom = wanted;
  state.camera.shift[0] += (1 - factor) * (x / width - 0.5 - state.camera.shift[0]);
  state.camera.shift[1] += (1 - factor) * (y / height - 0.5 - state.camera.shift[1]);
}

function point(app, panel, [x, y], event) {
  const found = panel.pick(x, y);
  const before = app.state.hover;
  if (before?.token === found?.token && before?.panel === found?.panel) {
    if (found) tip(app, found, event);
    return;
  }
  tip(app, found, event);
}

function tip(app, found, event) {
  const box = document.getElementById("tip");
  if (app.state.hover !== found) app.redraw();
  app.state.hover = found;
  box.hidden = !found;
  if (!found) return;
  const run = found.panel.runs[found.place];
  const same = found.panel.shown[found.place].same;
  const others = same ? same.reduce((count, first) => count + (first === same[found.token] ? 1 : 0), 0) - 1 : 0;
  box.textContent = app.tokens.words(found.token, run) + (others ? `, in a black hole with ${others.toLocaleString("en")} others` : "");
  const [width, height] = [box.offsetWidth, box.offsetHeight];
  box.style.left = `${Math.min(innerWidth - width - 8, event.clientX + 14)}px`;
  box.style.top = `${Math.min(innerHeight - height - 8, event.clientY + 14)}px`;
}
