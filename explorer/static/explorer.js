"use strict";
// What pages do beyond links and forms: they fetch the address that a link or a form leads to, and take over the parts
// of that page that this one has, too. The server alone makes pages; without this script they load as usual.

let asked = 0;
let shown = Promise.resolve();
let address_shown = location.pathname + location.search;
let shelving = new AbortController(); // stops the request for the shelves
let typing;
let waiting;
let pause = 2000; // milliseconds until the page looks again whether the model is loaded
let dragged = false;
let edited = null; // the form with changes that no address has yet

const one = (name, root = document) => root.querySelector(`[data-${name}]`);
const rows = () => [...document.querySelectorAll("[data-part=list] .recommended > [data-game]")];

// The address that a form, or what has taken its place, leads to; without empty fields.
function target(sent) {
  const form = sent.isConnected ? sent : document.getElementById(sent.id);
  edited = null;
  const given = [...new FormData(form)].filter(([name, value]) => value && !(name === "popularity" && value === "1"));
  const query = new URLSearchParams(given).toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return new URL(form.action).pathname + (query && `?${query}`);
}

// Show the address that `find` returns, after all that was clicked before, which may change where a link leads. Of
// several positions of the dial only the last one counts, and the form stays as it is. `how` is "push" for a new entry of
// the browser's history. If this fails, for example because the browser limits the entries of its history, the address is
// loaded as usual.
function follow(find, how, said, dialled = false) {
  const mine = ++asked;
  shelving.abort();
  shown = shown.then(() => {
    const address = dialled && mine !== asked ? "" : find();
    return address && show(address, how, said, mine, dialled).catch(() => location.assign(address));
  });
}

// The list comes first: the shelves below it take as long again, so they are fetched in a second step.
async function show(address, how, said, mine, dialled) {
  const results = one("results");
  results?.setAttribute("aria-busy", "true");
  const { page, failure } = await load(address, { headers: { prefer: `return=minimal${dialled ? "; without=filters" : ""}` } });
  one("results")?.removeAttribute("aria-busy");
  one("problem").hidden = Boolean(page);
  one("sentence").textContent = page ? "" : failure;
  one("problem").querySelector("a").href = address;
  if (!page) {
    one("status").textContent = failure;
    return;
  }
  const same = new URL(address, location).href === location.href;
  history[how === "push" && !same ? "pushState" : "replaceState"](null, "", address);
  address_shown = location.pathname + location.search;
  const before = new Map(rows().map((row, at) => [row.dataset.game, { at, top: row.getBoundingClientRect().top }]));
  replaceParts(page);
  results?.toggleAttribute("data-loading", "loading" in (one("results", page)?.dataset ?? {}));
  markMoves(before);
  const count = rows().length;
  one("status").textContent = `${said ?? ""} ${count} game${count === 1 ? "" : "s"} recommended now.`.trim();
  waitForModel();
  if (mine === asked) showShelves(address);
}

async function showShelves(address) {
  const shelves = document.querySelector("[data-part=shelves]");
  if (!shelves) return;
  shelving = new AbortController();
  const { signal } = shelving;
  const { page } = await load(address, { signal });
  if (page && !signal.aborted) shelves.replaceWith(document.adoptNode(page.querySelector("[data-part=shelves]")));
}

// A page of this site with parts to take over, or a sentence that says why there is none.
async function load(address, options) {
  try {
    const response = await fetch(address, options);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (response.ok && one("part", page)) return { page };
    return { failure: page.querySelector(".lead")?.textContent ?? "This page cannot be shown: load it again." };
  } catch {
    return { failure: "The explorer cannot be reached: try again in a moment." };
  }
}

// Take over what has changed. What is being typed or dragged stays, and so do the focus and what is folded open.
function replaceParts(page) {
  const focused = document.activeElement;
  const { id } = focused;
  const inside = focused.closest("[data-part]");
  const used = ["range", "search", "number", "select-one"].includes(focused.type);
  const busy = used && !["include", "exclude"].includes(focused.name) && inside;
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = page.querySelector(`[data-part=${part.dataset.part}]`);
    if (!other || part === busy || part.contains(edited) || part.dataset.part === "shelves" || other.isEqualNode(part)) continue;
    for (const folded of part.querySelectorAll("details[open][id]"))
      other.querySelector(`details[id="${folded.id}"]`)?.setAttribute("open", "");
    part.replaceWith(document.adoptNode(other));
  }
  if (focused.isConnected) return;
  const named = [id, inside?.dataset.next, "recommended"].map((name) => name && document.getElementById(name));
  named.find(Boolean).focus({ preventScroll: true });
}

// Mark the games that are new on the list, or have moved, and let them glide to their places.
function markMoves(before) {
  if (!before.size) return;
  const moved = [];
  rows().forEach((row, at) => {
    const old = before.get(row.dataset.game);
    const by = old ? old.at - at : 0;
    const mark = one("move", row);
    mark.replaceChildren();
    mark.className = "move";
    if (old && !by) return;
    mark.classList.add(!old ? "new" : by > 0 ? "rose" : "fell");
    mark.textContent = !old ? "new here" : `${by > 0 ? "▲" : "▼"}${Math.abs(by)}`;
    if (old) moved.push({ row, from: old.top });
  });
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  // All places are read before the first animation, and after the last mark: so the page is laid out once.
  for (const move of moved) move.by = move.from - move.row.getBoundingClientRect().top;
  for (const { row, by } of moved)
    row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 250, easing: "ease-out" });
}

// Look again after 2 s, then after twice as long each time, up to 30 s.
function waitForModel() {
  clearTimeout(waiting);
  if (!one("results") || !("loading" in one("results").dataset)) return;
  waiting = setTimeout(() => follow(() => location.href, "replace"), pause);
  pause = Math.min(2 * pause, 30000);
}

// Say where the dial is, as the server does for a new page.
function sayPosition(dial) {
  dial.setAttribute("aria-valuetext", `${Math.round(100 * dial.value)} % popularity`);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-live]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const now = () => (link.isConnected || !link.id ? link : document.getElementById(link.id))?.href;
  follow(now, "push", link.dataset.said);
});

document.addEventListener("submit", (event) => {
  if (!("live" in event.target.dataset)) return;
  event.preventDefault();
  clearTimeout(typing);
  const form = event.target;
  follow(() => target(form), "push");
});

document.addEventListener("input", ({ target: field }) => {
  const form = field.form;
  if (!form || !("live" in form.dataset) || !["range", "search"].includes(field.type)) return;
  clearTimeout(typing);
  edited = form;
  const dialled = field.type === "range";
  const how = dialled && !dragged ? "push" : "replace";
  dragged = dialled;
  if (dialled) sayPosition(field);
  const look = () => follow(() => target(form), how, "", dialled);
  typing = setTimeout(look, dialled ? 0 : 200);
});

document.addEventListener("change", ({ target: field }) => {
  const { form } = field;
  if (field.type === "range") dragged = false;
  else if (form && "live" in form.dataset && field.type !== "search" && form.reportValidity()) {
    edited = form;
    follow(() => target(form), "push");
  }
});

// Going back leads to another address, unless it only leads to another place of this page.
addEventListener("popstate", () => {
  if (location.pathname + location.search !== address_shown) location.reload();
});

// After going back to a page, show its form as in its address, not as it was left.
addEventListener("pageshow", ({ persisted }) => {
  const form = persisted && document.querySelector("form.filters");
  if (!form) return;
  form.reset();
  sayPosition(form.elements.popularity);
});

waitForModel();
