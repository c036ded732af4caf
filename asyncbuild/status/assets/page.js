// Keeps the page fresh. Without it the page is whole all the same, as of when it was loaded.
"use strict";

const zone = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
let paused = false;
let waiting = {};

/** Times as this reader's clock shows them. */
function localise(root) {
  for (const time of root.querySelectorAll("time")) {
    time.textContent = zone.format(new Date(time.dateTime));
    time.title = time.dateTime;
  }
  for (const each of root.querySelectorAll(".zone")) each.remove();
}

/** Whether the reader has marked something in there: it must not vanish under their hands. */
function marked(element) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && element.contains(selection.anchorNode);
}

/** Lanes come and go: what is below does not jump up at once, nor stand far away. */
const heights = [];
let settling = 0;
function steady(element) {
  clearTimeout(settling);
  settling = setTimeout(() => steady(element), 9000);
  const now = Date.now();
  element.style.minHeight = "";
  heights.push([now, element.offsetHeight]);
  while (now - heights[0][0] > 8000) heights.shift();
  const most = Math.max(...heights.map((each) => each[1]));
  element.style.minHeight = `${Math.min(most, element.offsetHeight + 90)}px`;
}

/** Puts a section's new content in; focus stays where it was. */
function replace(id, html) {
  const element = document.getElementById(id);
  if (!element || marked(element)) return false;
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const links = focused ? [...element.querySelectorAll("a, button, summary")] : [];
  const place = links.indexOf(focused);
  const open = [...element.querySelectorAll("details[open]")].map((each) => each.dataset.key);
  element.innerHTML = html; // escaped by the server, as in the page itself
  for (const each of element.querySelectorAll("details")) each.open = open.includes(each.dataset.key);
  localise(element);
  if (id === "top") addPause();
  if (id === "lanes") steady(element);
  if (focused) {
    const now = [...element.querySelectorAll("a, button, summary")];
    const same = now.find((each) => focused.href && each.href === focused.href) || now[place];
    if (same) same.focus({ preventScroll: true });
  }
  return true;
}

function show() {
  if (paused) return;
  for (const [id, html] of Object.entries(waiting)) {
    if (id === "title") document.title = html;
    else if (!replace(id, html)) continue;
    delete waiting[id];
  }
}

function addPause() {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = paused ? "Go on" : "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    show();
  });
  document.querySelector("#top .when").append(button);
}

/** The last state stays, marked as such. */
function say(text) {
  const live = document.getElementById("live");
  if (live && !live.querySelector(".gone")) {
    const note = document.createElement("span");
    note.className = "gone";
    note.textContent = ` · ${text}`;
    live.append(note);
  }
}

localise(document);
addPause();
const events = new EventSource(document.body.dataset.events);
events.addEventListener("status", (event) => {
  Object.assign(waiting, JSON.parse(event.data));
  show();
});
events.addEventListener("end", () => say("the service has stopped"));
events.addEventListener("error", () => say("no connection; trying again"));
