// Colours, shapes and sizes of tokens. The colours are those of Okabe and Ito (2008), which are told apart with
// every common colour vision; a second difference is always the shape.

const OWN = { light: ["#007A57", "#A8447F", "#9A6B00", "#1F83BB", "#6A3D9A", "#7A7A00"],
  dark: ["#3fd0a2", "#f08cc6", "#e8c04a", "#7cc7f4", "#b99cf0", "#d6d64e"] };
const BASE = { light: { all: "#404040", live: "#c24a00", dead: "#0068a8" }, dark: { all: "#b8bcc4", live: "#f0a23c", dead: "#5db5ee" } };
const SHAPES = { all: 0, live: 0, dead: 1 };
const OWN_SHAPES = [2, 3, 0];
// Of a second run that lies over the first: the same shapes as rings would hide, so it is shown paler.
export const PALER = 0.45;
// Lines of the first run, of the second, and so on.
export const DASHES = [[], [4, 3], [1, 2], [6, 2, 1, 2]];

export function dark() {
  const chosen = document.documentElement.className;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function colourOf(name, place) {
  const theme = dark() ? "dark" : "light";
  return BASE[theme][name] ?? OWN[theme][place % OWN[theme].length];
}

export function shapeOf(name, place) {
  return SHAPES[name] ?? OWN_SHAPES[place % OWN_SHAPES.length];
}

export function inkOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function channels(colour) {
  const number = Number.parseInt(colour.slice(1), 16);
  return [(number >> 16) / 255, ((number >> 8) & 255) / 255, (number & 255) / 255];
}

// The groups that are shown, in the order in which they are drawn; the user's own are drawn last, and win.
export function groupsOf(run) {
  const named = run.meta.groups;
  const told = named.some((group) => group.name === "live" || group.name === "dead");
  const everybody = { name: "all", own: false, tokens: [...Array(run.tokens).keys()] };
  const groups = told ? [...named] : [everybody, ...named];
  let own = -1;
  return groups.map((group) => {
    if (group.own) own += 1;
    return { ...group, colour: colourOf(group.name, own), shape: shapeOf(group.name, own) };
  });
}

// (token, 4) colours and (token, 2) diameters and shapes of a run.
export function looksOf(run, groups, hidden) {
  const count = run.tokens;
  const colours = new Float32Array(4 * count);
  const looks = new Float32Array(2 * count);
  const groupOf = new Int32Array(count).fill(-1);
  const solid = Math.max(0.2, Math.min(0.9, 0.9 / (count / 1000) ** 0.35));
  const base = Math.max(2.2, 8.5 / Math.max(1, count / 400) ** 0.3);
  const counts = run.meta.counts;
  const largest = counts ? Math.log1p(counts.reduce((most, next) => Math.max(most, next), 0)) : 0;
  groups.forEach((group, place) => {
    const [red, green, blue] = channels(group.colour);
    const shown = !hidden.has(group.name);
    for (const token of group.tokens) {
      groupOf[token] = place;
      colours.set([red, green, blue, shown ? solid : 0], 4 * token);
      const share = largest ? Math.log1p(counts[token]) / largest : 0.5;
      looks.set([shown ? base * (0.7 + 0.75 * share) : 0, group.shape], 2 * token);
    }
  });
  return { colours, looks, groupOf };
}
