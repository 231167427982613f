"""How pages look and answer to the pointer: style and script, which every page carries within it."""

from compressor.drawing.charts import MUTED, PALETTE

_LIGHT = "--page:#fff;--text:#1f2933;--soft:#52606d;--grid:#e4e7eb;--panel:#f5f7fa;--hot:#fff;--warm:#1f2933;"
_DARK = "--page:#14191f;--text:#e4e7eb;--soft:#a3b0bd;--grid:#2c353f;--panel:#1d242c;--hot:#0b1620;--warm:#0b1620;"


def page_style() -> str:
    """Return the style sheet with the palette's colours as variables; paper is always light."""

    def variables(place: int) -> str:
        return (
            "".join(f"--c{number}:{pair[place]};" for number, pair in enumerate(PALETTE)) + f"--muted:{MUTED[place]};"
        )

    classes = "".join(f".c{number}{{--c:var(--c{number})}}" for number in range(len(PALETTE)))
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(1)}{_DARK}}}}}"
    return (
        f":root{{{variables(0)}{_LIGHT}}}\n{dark}\n{classes}.muted{{--c:var(--muted)}}.ink{{--c:var(--text)}}\n{_CSS}"
    )


_CSS = """
* { box-sizing: border-box }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 60px }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .3em 0 }
h2 { font-size: 1.25rem; margin: 2em 0 .5em; border-bottom: 1px solid var(--grid); padding-bottom: .25em }
h3 { font-size: 1rem; margin: 0 0 .4em }
.lead { color: var(--soft); max-width: 75ch; margin: 0 0 1em }
p { max-width: 75ch; overflow-wrap: anywhere }
figure { margin: 1.2em 0; min-width: 0; break-inside: avoid }
figcaption { color: var(--soft); font-size: .875rem; max-width: 80ch; margin-top: .3em }
.row { display: flex; flex-wrap: wrap; gap: 0 40px }
.row figure { flex: 1 1 420px; max-width: 100% }
.scroll { overflow-x: auto }
.narrow { display: none }
svg { display: block; width: 100%; max-width: var(--largest); height: auto }
svg text { fill: var(--text); font-size: 13px; font-variant-numeric: tabular-nums }
svg .tick { fill: var(--soft); font-size: 12px }
svg .label { font-size: 12px }
svg .mid { text-anchor: middle }
svg .end { text-anchor: end }
svg .panel { font-weight: 600 }
svg .hot { fill: var(--hot) }
svg .warm { fill: var(--warm) }
.grid { stroke: var(--grid); fill: none }
.axis { stroke: var(--soft); fill: none }
.line { stroke: var(--c); fill: none; stroke-width: 1.8 }
.dashed { stroke-dasharray: 6 4 }
.mark,.bar,.cell { fill: var(--c) }
.mark.muted { fill-opacity: .65 }
.whisker { stroke: var(--c); fill: none; stroke-width: 1.2; stroke-opacity: .7 }
.whisker.ink { stroke-opacity: 1 }
.halo { stroke: var(--page); stroke-opacity: .75; stroke-width: 4; fill: none }
.dots { stroke: var(--c); stroke-linecap: round; fill: none; stroke-opacity: .65 }
.band { fill: var(--c); fill-opacity: .2 }
.cell { stroke: var(--grid) }
.near { stroke: var(--text); stroke-width: 2 }
.legend {
  list-style: none; margin: 0 0 .3em; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: .875rem;
}
.legend li { display: flex; align-items: center; gap: 6px }
.legend svg { width: 26px; flex: none }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; margin: .6em 0 }
th,td { padding: 4px 10px; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap }
th:first-child { text-align: left }
thead th { color: var(--soft); font-weight: 600 }
tbody th { font-weight: 500 }
.chosen { background: var(--panel) }
.chosen th,.chosen td { font-weight: 700 }
td span,pre span { white-space: nowrap }
.words td span { white-space: normal }
.words td, .words th { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top }
.words td, .words th { min-width: 8.5em }
pre {
  background: var(--panel); padding: 12px 14px; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .8125rem; line-height: 1.6;
}
.note { border-left: 4px solid var(--c1); background: var(--panel); padding: 8px 12px }
details { margin: .4em 0 }
summary { cursor: pointer; font-size: .875rem; color: var(--soft) }
.chain { list-style: none; display: flex; flex-wrap: wrap; gap: 10px 34px; padding: 0; margin: .8em 0 }
.chain li {
  position: relative; background: var(--panel); border: 1px solid var(--grid); border-radius: 6px;
  padding: 8px 12px; max-width: 250px;
}
.chain li+li::before {
  content: "="; position: absolute; left: -23px; top: 50%; transform: translateY(-50%); color: var(--soft);
  font-weight: 700;
}
.chain strong,.chain span { display: block }
.chain span { font-size: .8125rem; color: var(--soft); white-space: pre-line }
@media screen and (max-width: 700px) {
  main { padding: 16px 14px 40px }
  .wide { display: none }
  .narrow { display: block }
  th,td { padding: 4px 6px }
  tbody th,.few td,.few th { white-space: normal }
  .words td,.words th { min-width: 0 }
  .words th { min-width: 5.5em }
  .scroll {
    background: linear-gradient(90deg,transparent,var(--page) 80%) right/36px 100% no-repeat local,
      linear-gradient(90deg,transparent,var(--grid)) right/14px 100% no-repeat;
  }
  .scroll tbody th { position: sticky; left: 0; background: var(--page) }
  .scroll .chosen th { background: var(--panel) }
  .chain { flex-direction: column; gap: 26px }
  .chain li { max-width: none }
  .chain li+li::before { left: 50%; top: -13px; transform: translate(-50%,-50%) }
}
#tip {
  position: fixed; z-index: 9; pointer-events: none; background: var(--text); color: var(--page);
  font-size: .8125rem; line-height: 1.4; padding: 6px 9px; border-radius: 5px; white-space: pre-line;
  max-width: 320px;
}
#tip[hidden] { display: none }
@media print {
  main { max-width: none; padding: 0 }
  body { font-size: 10.5pt }
  #tip { display: none }
  .scroll { overflow: visible }
  figure svg[role=img] {
    min-width: 0!important; max-width: min(140mm,calc(var(--largest)*.8)); break-inside: avoid;
  }
  .row { display: block }
  .row svg[role=img] { max-width: min(100mm,calc(var(--largest)*.8)) }
  thead th { white-space: normal; vertical-align: bottom }
  tr,li,pre { break-inside: avoid }
  h2,h3 { break-after: avoid }
  table { font-size: 8pt }
  th,td { padding: 2px 5px }
  .mark,.bar,.cell,.band,pre,.note,.chain li { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  details:not([open]) { display: none }
}
"""

SCRIPT = """
const tip = document.getElementById("tip");
let near = null;

function leave() {
  if (near) near.classList.remove("near");
  near = null;
  tip.hidden = true;
}

// A mark is meant by a pointer that lies within it (bars, cells) or is nearest to its middle (points).
function distance(mark, event) {
  const box = mark.getBoundingClientRect();
  const x = event.clientX, y = event.clientY;
  if (box.width > 24 && x >= box.left && x <= box.right && y >= box.top && y <= box.bottom) return 0;
  return Math.hypot(x - (box.left + box.right) / 2, y - (box.top + box.bottom) / 2);
}

function look(marks, event) {
  let best = null, least = 24;
  for (const mark of marks) {
    const d = distance(mark, event);
    if (d <= least) { least = d; best = mark; }
  }
  if (best !== near) {
    leave();
    if (best) {
      near = best;
      best.classList.add("near");
      tip.textContent = best.dataset.note;
      tip.hidden = false;
    }
  }
  if (!near) return;
  const above = event.clientY + 18 + tip.offsetHeight > innerHeight;
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = (above ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18) + "px";
}

for (const svg of document.querySelectorAll("figure svg[role=img]")) {
  const marks = [...svg.querySelectorAll("[data-note]")];
  svg.addEventListener("pointermove", event => look(marks, event));
  svg.addEventListener("pointerdown", event => look(marks, event));
  svg.addEventListener("pointerleave", leave);
}
addEventListener("scroll", leave, true);
"""
"""Shows the note of the mark that is nearest to the pointer."""
