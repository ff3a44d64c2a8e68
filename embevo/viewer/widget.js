// What runs in the notebook itself: the page in a frame, and what it asks handed on to the kernel.

// JupyterLab and VS Code say which; elsewhere it is what the system prefers.
const theme = () => {
  const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
  if (jpThemeLight) return jpThemeLight === "true" ? "light" : "dark";
  if (vscodeThemeKind) return vscodeThemeKind.endsWith("light") ? "light" : "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
};

function render({ model, el }) {
  // Of several outputs that show one widget, each takes the answers to its own questions.
  const mine = `${Date.now()}-${Math.random()}`;
  const frame = document.createElement("iframe");
  frame.title = "embevo: the run as it moves";
  // The page may neither touch the notebook nor be anything but this page.
  frame.setAttribute("sandbox", "allow-scripts allow-downloads allow-forms");
  Object.assign(frame.style, { width: "100%", border: "1px solid #8886", borderRadius: "6px", display: "block" });
  const size = () => { frame.style.height = `${model.get("height")}px`; };
  let port = null;
  const dress = () => port?.postMessage({ theme: theme() });

  const answered = (answer, buffers) => {
    if (answer.of !== mine) return;
    const [view] = buffers ?? [];
    const data = view ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : null;
    if (answer.number > 0) port?.postMessage({ ...answer, data }, data ? [data] : []);
    else if (data) frame.srcdoc = new TextDecoder().decode(data);
    else el.textContent = answer.refused;
  };
  const ready = ({ source, data }) => {
    if (source !== frame.contentWindow || data?.embevo !== "ready") return;
    const channel = new MessageChannel();
    port = channel.port1;
    port.onmessage = (asked) => model.send({ of: mine, ...asked.data });
    source.postMessage({ embevo: "port", state: model.get("state"), theme: theme() }, "*", [channel.port2]);
  };

  size();
  const themes = new MutationObserver(dress);
  themes.observe(document.body, { attributes: true });
  model.on("msg:custom", answered);
  model.on("change:height", size);
  addEventListener("message", ready);
  el.append(frame);
  model.send({ of: mine, number: 0, address: "page.html" });
  return () => {
    themes.disconnect();
    model.off("msg:custom", answered);
    model.off("change:height", size);
    removeEventListener("message", ready);
  };
}

export default { render };
