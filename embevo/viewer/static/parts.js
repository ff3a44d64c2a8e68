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

// What names of several runs differ by: of novel-normal-seed1 and novel-singular-seed1, normal and singular.
export function shortNames(names) {
  const parts = names.map((name) => name.split(/(?<=[-_/])/));
  const room = Math.min(...parts.map((one) => one.length)) - 1;
  const alike = (at) => parts.every((one) => one.at(at) === parts[0].at(at));
  let [head, tail] = [0, 0];
  if (names.length > 1) {
    while (head < room && alike(head)) head += 1;
    while (tail < room - head && alike(-1 - tail)) tail += 1;
  }
  return parts.map((one) => one.slice(head, one.length - tail).join("").replace(/[-_/]$/, ""));
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
