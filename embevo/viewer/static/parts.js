// Parts of the panel beside the cloud.

export function soft(text) {
  const line = document.createElement("p");
  line.className = "soft";
  line.textContent = text;
  return line;
}

export function heading(text) {
  const line = document.createElement("h2");
  line.textContent = text;
  return line;
}

export function details(title, open) {
  const box = document.createElement("details");
  const head = document.createElement("summary");
  head.textContent = title;
  const inner = document.createElement("div");
  box.append(head, inner);
  box.addEventListener("toggle", () => { if (box.open && !inner.childElementCount) open(inner); });
  return box;
}
