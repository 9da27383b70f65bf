"use strict";
// What the pages do beyond links and forms. Texts are set as texts, never as HTML.

// Forms leave out what is empty, which keeps addresses short.
document.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});

if (document.querySelector("[data-try]")) tryIt();

// A history that is built by clicking games. The address holds it, and the API answers to it.
function tryIt() {
  const one = (name) => document.querySelector(`[data-${name}]`);
  const [place, results, found, own, list] = ["try", "results", "found", "history", "recommended"].map(one);
  const search = document.querySelector("form.search");
  const text = search.elements.q;
  let games = [...own.children].map((row) => game(row, row.dataset.game));
  let asked = 0;
  let typing;

  function game(row, id) {
    return { game_id: Number(id), name: row.querySelector("[data-name]").textContent };
  }

  function shown(name) {
    return /[^\p{C}\p{Z}]/u.test(name) ? name : "(no visible name)";
  }

  // A row of a list, copied from the page's template and filled in.
  function row(kind, { game_id, name }) {
    const element = document.querySelector(`[data-template=${kind}]`).content.firstElementChild.cloneNode(true);
    for (const part of element.querySelectorAll("[data-name]")) part.textContent = shown(name);
    for (const part of element.querySelectorAll("[data-add]")) part.dataset.add = game_id;
    for (const part of element.querySelectorAll("[data-remove]")) part.dataset.remove = game_id;
    element.querySelector("[data-link]").href = `/games/${game_id}`;
    return element;
  }

  function fill(element, rows) {
    element.replaceChildren(...rows);
    element.hidden = !rows.length;
  }

  // An address of this page with other games in its history, and what is looked for now.
  function address(ids, from = location.href) {
    const parameters = new URL(from).searchParams;
    for (const [name, value] of [["games", ids.join(",")], ["q", text.value.trim()]]) {
      if (value) parameters.set(name, value);
      else parameters.delete(name);
    }
    return `/try?${parameters}`.replaceAll("%2C", ",").replace(/\?$/, "");
  }

  // Every link and form leads on from the history as it is now.
  function relink() {
    const ids = games.map((each) => each.game_id);
    history.replaceState(null, "", address(ids));
    for (const link of document.querySelectorAll("[data-add]")) {
      const id = Number(link.dataset.add);
      const added = ids.includes(id);
      link.href = address(added ? ids : [...ids, id]);
      link.ariaDisabled = added ? "true" : null;
      const verb = link.querySelector("[data-verb]");
      if (verb) verb.textContent = added ? "Added" : "Add";
    }
    for (const link of document.querySelectorAll("[data-remove]"))
      link.href = address(ids.filter((id) => id !== Number(link.dataset.remove)));
    for (const link of document.querySelectorAll("[data-kept]")) link.href = address(ids, link.href);
    for (const form of document.forms) keep(form, "games", ids.join(","));
    keep(document.querySelector("form.filters"), "q", text.value.trim());
  }

  function keep(form, name, value) {
    const input = form.elements[name] ?? Object.assign(document.createElement("input"), { type: "hidden", name });
    input.value = value;
    form.append(input);
  }

  function change(changed, what) {
    games = changed;
    fill(own, games.map((each) => row("history", each)));
    one("no-history").hidden = games.length > 0;
    relink();
    recommend(what);
  }

  // What the API answers; an `error` where it does not.
  async function ask(path, options) {
    try {
      const response = await fetch(path, options);
      return { status: response.status, ...(await response.json()) };
    } catch {
      return { status: 0, error: "The explorer cannot be reached: try again in a moment." };
    }
  }

  async function recommend(what = "") {
    const mine = ++asked;
    const filters = [...new URL(location).searchParams].filter(([name, value]) => value && !["games", "q"].includes(name));
    const body = { ...Object.fromEntries(filters), history: games.map((each) => each.game_id) };
    results.ariaBusy = "true";
    const answer = await ask("/api/recommend", { method: "POST", body: JSON.stringify(body) });
    if (mine !== asked) return;
    results.ariaBusy = null;
    const focused = [...list.children].findIndex((each) => each.contains(document.activeElement));
    const best = answer.games ?? [];
    const lengths = strengths(best);
    fill(list, best.map((each, place) => recommended(each, lengths[place])));
    if (focused >= 0) [...list.querySelectorAll("[data-add]")].at(Math.min(focused, best.length - 1))?.focus();
    one("problem").hidden = !answer.error;
    one("sentence").textContent = answer.error ?? "";
    one("nothing-passes").hidden = Boolean(answer.error) || best.length > 0;
    one("said").textContent = `${what} ${answer.error ?? `${best.length} games are recommended now.`}`.trim();
    relink();
    if (answer.status === 503 && "loading" in place.dataset) setTimeout(recommend, 2000);
  }

  function recommended(each, length) {
    const element = row("recommended", { game_id: each.game_id, name: each.game });
    element.querySelector("[data-rank]").textContent = each.rank;
    element.querySelector("[data-reason]").textContent = each.reason;
    element.querySelector("[data-score]").textContent = each.score.toFixed(2);
    element.querySelector("[data-length]").setAttribute("width", length);
    return element;
  }

  // As in explorer/strengths.py.
  function strengths(best) {
    const personal = (each) => each.reason.startsWith("because ");
    return best.map((each) => {
      const scores = best.filter((other) => personal(other) === personal(each)).map((other) => other.score);
      const low = Math.min(0, ...scores);
      return Math.max(4, (100 * (each.score - low)) / (Math.max(0, ...scores) - low || 1));
    });
  }

  async function look() {
    const wanted = text.value.trim();
    const answer = wanted ? await ask(`/api/games?limit=10&q=${encodeURIComponent(wanted)}`) : { games: [] };
    if (wanted !== text.value.trim()) return;
    fill(found, (answer.games ?? []).map((each) => row("found", each)));
    one("nothing-found").hidden = !wanted || found.children.length > 0;
    one("nothing-found").textContent = answer.error ?? one("nothing-found").dataset.nothingFound;
    if (wanted) one("said").textContent = answer.error ?? `${found.children.length} games are found.`;
    relink();
  }

  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(look, 200);
  });

  search.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    look();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-add], [data-remove]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.ariaDisabled) return;
    const { game_id, name } = game(link, link.dataset.add ?? link.dataset.remove);
    if ("add" in link.dataset) return change([...games, { game_id, name }], `${name} is added.`);
    const at = games.findIndex((each) => each.game_id === game_id);
    change(games.filter((each) => each.game_id !== game_id), `${name} is removed.`);
    (own.querySelectorAll("[data-remove]")[Math.min(at, games.length - 1)] ?? document.getElementById("history")).focus();
  });

  if ("loading" in place.dataset) recommend();
}
