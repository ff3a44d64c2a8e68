// Films of a part of a run, made where the run is; the page asks how far they are.

import { offer } from "./save.js";

const LOOK_MS = 300;
const $ = (id) => document.getElementById(id);

export function bindFilming(app) {
  // Without what made the page, nobody can make films.
  $("film").hidden = !app.index.served;
  if (!app.index.served) return;
  for (const [place, run] of app.runs.entries()) $("film-run").append(new Option(run.meta.name, place));
  $("film-run-label").hidden = app.runs.length < 2;
  let cancelled = false;
  const chosen = () => app.runs[Number($("film-run").value)];
  const fill = () => {
    $("film-from").value = chosen().steps[0];
    $("film-to").value = chosen().steps.at(-1);
  };
  fill();
  $("film-run").addEventListener("change", fill);
  $("film-cancel").addEventListener("click", () => {
    cancelled = true;
    chosen().tell("film/stop.json").catch((error) => app.failed(error));
  });
  $("film").addEventListener("submit", async (event) => {
    event.preventDefault();
    cancelled = false;
    busy(true);
    try {
      $("saved").textContent = await make(app.source, chosen(), Number($("film-from").value), Number($("film-to").value), () => cancelled);
    } catch (error) {
      $("saved").textContent = error.message;
    }
    busy(false);
  });
}

function busy(on) {
  $("film-cancel").hidden = $("film-progress").hidden = !on;
  for (const id of ["film-make", "film-run", "film-from", "film-to"]) $(id).disabled = on;
  if (on) $("film-progress").removeAttribute("value");
}

async function make(source, run, first, last, cancelled) {
  let told = await run.tell(`film/begin-${Math.max(0, Math.round(first))}-${Math.max(0, Math.round(last))}.json`);
  while (!told.file && !told.failure && !cancelled()) {
    $("saved").textContent = told.doing === "drawing" ? `Drawing picture ${told.done} of ${told.all} ...` : "Measuring the run ...";
    if (told.all) {
      $("film-progress").max = told.all;
      $("film-progress").value = told.done;
    }
    await new Promise((done) => setTimeout(done, LOOK_MS));
    told = await run.tell("film/told.json");
  }
  if (cancelled()) return "Cancelled: there is no film.";
  if (told.failure) return `There is no film: ${told.failure}.`;
  const bytes = await source.bytes(run.address(`film/${told.file}`));
  const type = told.file.endsWith("mp4") ? "video/mp4" : "image/gif";
  return offer(new Blob([bytes], { type }), `${run.meta.name.replaceAll("/", "-")}-steps-${told.file}`);
}
