// Keeps a page of distfd ui up to date by server-sent events, and sorts and filters the list of runs.
"use strict";

const link = document.getElementById("link");

function say(text) {
  if (link.textContent !== text) link.textContent = text;
}

// The markup in events is made by the server, which escapes all that comes from a run; the page's policy runs no script in it.
function replace(element, html) {
  const open = new Set([...element.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
  const scrolled = [...element.querySelectorAll(".table.long, pre")].map((one) => one.scrollTop);
  element.innerHTML = html;
  for (const one of element.querySelectorAll("details > summary")) one.parentElement.open = open.has(one.textContent);
  element.querySelectorAll(".table.long, pre").forEach((one, k) => { one.scrollTop = scrolled[k] || 0; });
}

// What the server last sent of each part: charts.js adds to what is shown, and that is no news.
const sent = new Map([...document.querySelectorAll("#parts > .part")].map((part) => [part.id, part.innerHTML]));

function takePage(news) {
  const parts = document.getElementById("parts");
  let changed = false;
  for (const [key, html] of Object.entries(news.parts)) {
    const made = document.createElement("template");
    made.innerHTML = html;
    const fresh = made.content.firstElementChild;
    const there = document.getElementById(fresh.id), before = sent.get(fresh.id);
    sent.set(fresh.id, fresh.innerHTML);
    if (before === fresh.innerHTML && there !== null) continue;
    changed = true;
    if (there === null) parts.append(fresh);
    else replace(there, fresh.innerHTML);
  }
  const wanted = news.order.map((key) => "part-" + key);
  for (const part of [...parts.children]) if (!wanted.includes(part.id)) part.remove();
  wanted.forEach((id, k) => {
    const part = document.getElementById(id);
    if (part !== null && parts.children[k] !== part) parts.insertBefore(part, parts.children[k] || null);
  });
  if (changed) document.dispatchEvent(new Event("distfd-page"));
}

function takeStatus(status) {
  const live = document.getElementById("live");
  live.hidden = !status.text;
  document.getElementById("live-text").textContent = status.text;
  const bar = document.getElementById("live-bar");
  bar.hidden = !status.wave || !status.wave.total;
  if (!bar.hidden) {
    bar.max = status.wave.total;
    bar.value = status.wave.finished || 0;
  }
}

let sorted = null;

function arrange() {
  const table = document.getElementById("runs");
  const words = (document.getElementById("find").value || "").toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.querySelectorAll("tbody tr[data-run]")];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  if (sorted === null) return;
  const value = (row) => row.children[sorted.column].dataset.sort;
  rows.sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = Number.isFinite(+a) && Number.isFinite(+b);
    return sorted.sign * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
  table.tBodies[0].append(...rows);
}

function takeRuns(news) {
  const table = document.getElementById("runs");
  const chosen = new Set([...table.querySelectorAll("input:checked")].map((one) => one.value));
  const focused = document.activeElement && document.activeElement.closest("tbody tr");
  const name = focused && focused.dataset.run;
  const made = document.createElement("template");
  made.innerHTML = "<table>" + news.html + "</table>";
  table.tBodies[0].replaceWith(made.content.querySelector("tbody"));
  for (const one of table.querySelectorAll("input")) one.checked = chosen.has(one.value);
  arrange();
  if (name) for (const row of table.tBodies[0].rows) if (row.dataset.run === name) (row.querySelector("a") || row).focus();
}

if (document.getElementById("runs") !== null) {
  document.getElementById("find").addEventListener("input", arrange);
  for (const button of document.querySelectorAll("#runs thead button")) {
    button.addEventListener("click", () => {
      const column = +button.dataset.column;
      const sign = sorted !== null && sorted.column === column ? -sorted.sign : 1;
      sorted = { column, sign };
      for (const head of document.querySelectorAll("#runs thead th[aria-sort]")) head.setAttribute("aria-sort", "none");
      button.parentElement.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      arrange();
    });
  }
}

if (document.body.dataset.events) {
  const source = new EventSource(document.body.dataset.events);
  const take = (kind, how) => source.addEventListener(kind, (event) => { say("live"); how(JSON.parse(event.data)); });
  take("page", takePage);
  take("status", takeStatus);
  take("runs", takeRuns);
  take("trouble", (news) => say(news.message));
  source.addEventListener("end", () => { source.close(); say("distfd has ended; this is what there was"); });
  source.onopen = () => say("live");
  source.onerror = () => say("not connected; what is shown may be old");
}
