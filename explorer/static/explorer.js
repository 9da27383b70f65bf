"use strict";
// What pages do beyond links and forms. Text is set as text, never as HTML.

if (document.querySelector("[data-try]")) tryIt();

// Leave out empty fields, which keeps addresses short.
document.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});

// After going back to a page, show its form as in its address, not as it was left.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) document.querySelector("form.filters")?.reset();
});

// A history that is built by clicking games: the address holds it, and the API answers to it.
function tryIt() {
  const one = (name) => document.querySelector(`[data-${name}]`);
  const [root, results, found, own, list] = ["try", "results", "found", "history", "recommended"].map(one);
  const search = document.querySelector("form.search");
  const text = search.elements.q;
  const [longest, most] = [Number(root.dataset.longest), Number(root.dataset.most)];
  let games = [...own.children].map((row) => gameOf(row, row.dataset.game));
  let asked = 0;
  let typing;

  const ids = () => games.map((game) => game.game_id);

  function gameOf(row, id) {
    return { game_id: Number(id), name: row.querySelector("[data-name]").textContent };
  }

  // A row of a list, copied from the page's template.
  function row(kind, { game_id, name }) {
    const element = document.querySelector(`[data-template=${kind}]`).content.firstElementChild.cloneNode(true);
    const shown = /[^\p{C}\p{Z}]/u.test(name) ? name : "(no visible name)";
    for (const part of element.querySelectorAll("[data-name]")) part.textContent = shown;
    for (const part of element.querySelectorAll("[data-add]")) part.dataset.add = game_id;
    for (const part of element.querySelectorAll("[data-remove]")) part.dataset.remove = game_id;
    element.querySelector("[data-link]").href = `/games/${game_id}`;
    return element;
  }

  function recommendedRow({ rank, game_id, name, match, reason }) {
    const element = row("recommended", { game_id, name });
    element.querySelector("[data-rank]").textContent = rank;
    element.querySelector("[data-reason]").textContent = reason;
    element.querySelector("[data-match]").textContent = match === null ? "" : `${match} %`;
    element.querySelector("[data-length]").setAttribute("width", match ?? 0);
    return element;
  }

  function fill(element, rows) {
    element.replaceChildren(...rows);
    element.hidden = !rows.length;
  }

  // The address of this page with a history and the current search.
  function address(history, from = location.href) {
    const parameters = new URL(from).searchParams;
    for (const [name, value] of [["games", history.join(",")], ["q", text.value.trim()]]) {
      if (value) parameters.set(name, value);
      else parameters.delete(name);
    }
    return `/try?${parameters}`.replaceAll("%2C", ",").replace(/\?$/, "");
  }

  // Update every link to the current history.
  function relink() {
    history.replaceState(null, "", address(ids()));
    for (const link of document.querySelectorAll("[data-add]")) {
      const id = Number(link.dataset.add);
      const added = ids().includes(id);
      link.href = address(added ? ids() : [...ids(), id]);
      if (added) link.setAttribute("aria-disabled", "true");
      else link.removeAttribute("aria-disabled");
      const verb = link.querySelector("[data-verb]");
      if (verb) verb.textContent = added ? "Added" : "Add";
    }
    for (const link of document.querySelectorAll("[data-remove]"))
      link.href = address(ids().filter((id) => id !== Number(link.dataset.remove)));
    for (const link of document.querySelectorAll("[data-kept]")) link.href = address(ids(), link.href);
  }

  function change(changed, what) {
    games = changed;
    fill(own, games.map((game) => row("history", game)));
    one("no-history").hidden = games.length > 0;
    relink();
    recommend(what);
  }

  // The API's answer; if it is an error, its `detail` says what is wrong.
  async function ask(path, options) {
    try {
      const response = await fetch(path, options);
      return { status: response.status, ...(await response.json()) };
    } catch {
      return { detail: "The explorer cannot be reached: try again in a moment." };
    }
  }

  async function recommend(what = "") {
    const mine = ++asked;
    const parameters = new URL(location).searchParams;
    const filters = Object.fromEntries([...parameters].filter(([, value]) => value));
    for (const name of ["include", "exclude"]) filters[name] = parameters.getAll(name);
    delete filters.games;
    delete filters.q;
    results.setAttribute("aria-busy", "true");
    const answer = await ask("/api/v1/recommend", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...filters, history: ids() }),
    });
    if (mine !== asked) return;
    results.removeAttribute("aria-busy");
    const best = answer.games ?? [];
    const focused = [...list.children].findIndex((each) => each.contains(document.activeElement));
    fill(list, best.map(recommendedRow));
    if (focused >= 0) [...list.querySelectorAll("[data-add]")].at(Math.min(focused, best.length - 1))?.focus();
    one("problem").hidden = !answer.detail;
    one("sentence").textContent = answer.detail ?? "";
    one("nothing-passes").hidden = Boolean(answer.detail) || best.length > 0;
    relink();
    if (answer.status === 503 && "loading" in root.dataset) return setTimeout(recommend, 2000);
    delete root.dataset.loading;
    one("said").textContent = `${what} ${answer.detail ?? `${best.length} games are recommended now.`}`.trim();
  }

  async function look() {
    const wanted = text.value.trim();
    const answer = wanted ? await ask(`/api/v1/games?limit=${most + 1}&q=${encodeURIComponent(wanted)}`) : { games: [] };
    if (wanted !== text.value.trim()) return;
    const all = answer.games ?? [];
    fill(found, all.slice(0, most).map((game) => row("found", game)));
    one("more").hidden = all.length <= most;
    one("all-found").href = `/games?${new URLSearchParams({ q: wanted })}`;
    one("nothing-found").hidden = !wanted || found.children.length > 0;
    one("nothing-found").textContent = answer.detail ?? one("nothing-found").dataset.nothingFound;
    const count = all.length > most ? `More than ${most}` : all.length;
    one("said").textContent = wanted ? answer.detail ?? `${count} games found.` : "";
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

  document.addEventListener("formdata", ({ formData }) => {
    formData.set("games", ids().join(","));
    formData.set("q", text.value.trim());
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-add], [data-remove]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.dataset.add && games.length >= longest) return; // the linked page says why not
    event.preventDefault();
    if (link.hasAttribute("aria-disabled")) return;
    const game = gameOf(link, link.dataset.add ?? link.dataset.remove);
    if (link.dataset.add) return change([...games, game], `${game.name} is added.`);
    const at = ids().indexOf(game.game_id);
    change(games.filter((each) => each.game_id !== game.game_id), `${game.name} is removed.`);
    (own.querySelectorAll("[data-remove]")[Math.min(at, games.length - 1)] ?? document.getElementById("history")).focus();
  });

  if ("loading" in root.dataset) recommend();
}
