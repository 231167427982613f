// Shows the note of the mark that is nearest to the pointer.
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
