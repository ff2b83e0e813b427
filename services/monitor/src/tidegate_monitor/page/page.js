"use strict";
// Shows what /stream says. Every text goes in as text, never as markup: a site may be called anything.

const $ = (id) => document.getElementById(id);
const TOKEN = "tidegate-token";
const SILENT_MS = 10000;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  if (className) element.className = className;
  return element;
}
function put(parent, ...children) { parent.replaceChildren(...children); return parent; }
function join(parent, ...children) { parent.append(...children); return parent; }

const NONE = "–";
const whole = (n) => n === null || n === undefined ? NONE : Math.round(n).toLocaleString("en");
const percent = (n) => n === null || n === undefined ? NONE : (100 * n).toFixed(n > 0 && n < 0.0995 ? 1 : 0) + " %";
const rate = (n) => (n >= 99.5 ? Math.round(n).toLocaleString("en") : n >= 9.95 ? n.toFixed(0) : n.toFixed(1)) + "/s";
const money = (n) => n === null || n === undefined ? NONE : "$" + n.toFixed(n >= 100 ? 0 : n >= 1 || n === 0 ? 2 : 4);
function time(s) {
  if (s === null || s === undefined) return NONE;
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 100) return s.toFixed(s < 10 ? 1 : 0) + " s";
  return s < 7200 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h";
}
function measured(value, unit) {
  if (unit === "ratio") return percent(value);
  if (unit === "s") return time(value);
  if (unit === "state") return "";
  return whole(value);
}

function pairs(list, rows) {
  put(list);
  for (const [name, value] of rows) join(list, make("dt", name), make("dd", value));
  return list;
}

function showStatus(state) {
  const critical = state.alerts.filter((a) => a.severity === "critical").length;
  const warnings = state.alerts.filter((a) => a.severity === "warning").length;
  const busy = state.rates.pages + state.rates.challenges + state.rates.stored > 0;
  let text, kind;
  if (!state.ready) { text = "Reading the last minutes…"; kind = "wait"; }
  else if (critical) { text = critical + (critical === 1 ? " critical alert" : " critical alerts"); kind = "bad"; }
  else if (warnings) { text = warnings + (warnings === 1 ? " warning" : " warnings"); kind = "warn"; }
  else { text = busy ? "No alerts" : "Idle, no alerts"; kind = "good"; }
  // Only a change is announced.
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").dataset.state = kind;
  document.title = (critical ? "(" + critical + ") " : "") + "Tidegate";
  $("clock").textContent = "as of " + new Date(state.now_ms).toLocaleTimeString();
}

function showAlerts(alerts) {
  const rows = alerts.map((alert) => {
    const row = make("li", null, alert.severity);
    const head = make("p");
    join(head, make("strong", alert.severity === "critical" ? "Critical: " : alert.severity === "warning" ? "Warning: " : "Advice: "));
    const now = measured(alert.value, alert.unit);
    join(head, alert.summary + (alert.subject ? " (" + alert.subject + ")" : ""));
    return join(row, head, make("p", (now ? "At " + now + " when it fired, " : "Fired ") + time(alert.since_s) + " ago. " + alert.action));
  });
  if (!rows.length) rows.push(make("li", "Nothing fires.", "none"));
  put($("alerts"), ...rows);
}

function showKey(state) {
  const s = state.shares, t = state.times;
  const rows = [
    ["Pages", rate(state.rates.pages), "now"],
    ["CAPTCHA rate", percent(s.captcha), "of pages and challenges", s.captcha > 0.4 ? "bad" : s.captcha > 0.3 ? "warn" : ""],
    ["Solved", percent(s.solved), "of all solves", s.solved !== null && s.solved < 0.9 ? "bad" : s.solved !== null && s.solved < 0.95 ? "warn" : ""],
    ["Solve time", time(t.solve_p50), "95 %: " + time(t.solve_p95), t.solve_p50 > 30 ? "warn" : ""],
    ["Fetch time", time(t.fetch_p50), "95 %: " + time(t.fetch_p95)],
    ["Failed fetches", percent(s.errors), "tried again"],
    ["Dead letters", percent(s.dead), "of jobs that ended", s.dead > 0.05 ? "bad" : ""],
    ["Spent", money(state.spent), "in five minutes"],
  ];
  if (state.proxies) rows.push(["Proxies", state.proxies.healthy + " of " + state.proxies.all, "healthy", state.proxies.healthy ? "" : "bad"]);
  put($("key"), ...rows.map(([name, value, note, kind]) => {
    const row = make("div");
    if (kind) row.dataset.state = kind;
    return join(row, make("dt", name), join(make("dd", value), make("small", note)));
  }));
}

function stage(kind, title, note, rows, bad) {
  const box = make("div", null, "stage " + kind);
  if (bad) box.dataset.state = "bad";
  const head = make("h3", title);
  if (note) join(head, make("span", note));
  return join(box, head, pairs(make("dl"), rows));
}
function arrow(text, side) {
  const box = make("div", null, side ? "arrow side" : "arrow");
  box.setAttribute("aria-hidden", "true");
  return join(box, make("span", text));
}

function showPipeline(state) {
  const lag = (topic) => whole(state.lags[topic]);
  const of = Object.fromEntries(state.services.map((service) => [service.name, service]));
  const service = (name, title, rows) => {
    const it = of[name];
    const silent = it.instances === 0;
    const note = silent ? (it.silent_s === null ? "not seen" : "silent for " + time(it.silent_s))
      : it.instances === 1 ? "1 instance" : it.instances + " instances";
    const all = [["in hand", whole(it.in_hand)], ...rows];
    if (it.buffered) all.push(["waiting in memory", whole(it.buffered)]);
    if (it.held) all.push(["partitions held", whole(it.held)]);
    if (it.stuck) all.push(["partitions stuck", whole(it.stuck)]);
    if (it.loop_lag_s > 0.1) all.push(["loop late by", time(it.loop_lag_s)]);
    return stage(name, title, note, all, (silent && it.silent_s !== null) || it.stuck > 0);
  };
  put($("pipeline"),
    stage("queue", "URLs", "waiting", [["high", lag("urls-high")], ["normal", lag("urls")], ["low", lag("urls-low")]]),
    arrow("→"),
    service("fetcher", "Fetcher", [["pages", rate(state.rates.pages)], ["challenges", rate(state.rates.challenges)], ["failures", rate(state.rates.failures)], ["dead", rate(state.rates.dead)]]),
    arrow("→"),
    stage("queue", "Pages", "waiting", [["pages", lag("pages")], ["solves", lag("solves")], ["dead letters", lag("dead-letter")]]),
    arrow("→"),
    service("storer", "Storer, ClickHouse", [["stored", rate(state.rates.stored)]]),
    stage("queue asks", "CAPTCHAs", "from the fetcher", [["requests", lag("captcha-requests")]]),
    arrow("→"),
    service("solver", "Solver", [["solved", rate(state.rates.solved)], ["failed", rate(state.rates.unsolved)]]),
    arrow("→"),
    stage("queue answers", "Answers", "to the fetcher", [["solutions", lag("captcha-solutions")]]),
  );
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
function chart(title, points, show, seconds) {
  const most = Math.max(...points, 0), last = points.length - 1;
  const at = (value, place) => (100 * place / last).toFixed(2) + "," + (most ? 39 - 37 * value / most : 39).toFixed(2);
  const line = points.map(at).join(" ");
  const svg = shape("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", title + ": now " + show(points[last]) + ", at most " + show(most) + " in " + time(seconds));
  join(svg, shape("polygon", { points: "0,39 " + line + " 100,39", class: "area" }),
    shape("line", { x1: 0, y1: 39, x2: 100, y2: 39, class: "base" }), shape("polyline", { points: line, class: "trace" }));
  const head = join(make("figcaption", title), make("b", show(points[last])));
  const scale = join(make("div", null, "scale"), make("span", time(seconds) + " ago"), make("span", "most " + show(most)), make("span", "now"));
  return join(make("figure", null, "chart"), head, svg, scale);
}
function showCharts(charts, seconds) {
  put($("charts"),
    chart("Pages", charts.pages, rate, seconds), chart("Challenges", charts.challenges, rate, seconds),
    chart("Solved", charts.solved, rate, seconds), chart("Stored records", charts.stored, rate, seconds),
    chart("Waiting records", charts.backlog, whole, seconds), chart("Spend", charts.spent.map((each) => each * 3600), (n) => money(n) + "/h", seconds));
}

function row(name, tag) { return join(make("li"), make("span", name), tag); }
function showWalls(state) {
  const gates = Object.entries(state.gates);
  const gated = new Set(gates.map(([name]) => "gate of " + name + " sites"));
  const rows = gates.map(([name, share]) => row("Gate of " + name + " sites",
    make("span", share >= 1 ? "open" : share > 0 ? "open to " + percent(share) : "shut", "tag " + (share >= 1 ? "good" : share > 0 ? "warn" : "bad"))));
  for (const wall of state.walls) {
    if (!gated.has(wall.name)) rows.push(row(wall.name[0].toUpperCase() + wall.name.slice(1), make("span", wall.shut ? "holds back" : "open", "tag " + (wall.shut ? "bad" : "good"))));
  }
  for (const provider of state.providers) {
    rows.push(row("Breaker of " + provider.name, make("span", { closed: "closed, in use", "half-open": "half-open, tried", open: "open, not asked", out: "out, not asked" }[provider.state], "tag " + (provider.state === "closed" ? "good" : provider.state === "half-open" ? "warn" : "bad"))));
  }
  if (!rows.length) rows.push(make("li", "Nothing is known yet.", "quiet"));
  put($("walls"), ...rows);
}

function bar(name, label, share, kind) {
  const fill = make("div", null, "fill" + (kind ? " " + kind : ""));
  fill.style.width = (100 * Math.min(1, Math.max(0, share))).toFixed(1) + "%";
  const track = join(make("div", null, "track"), fill);
  track.setAttribute("aria-hidden", "true");
  return join(make("div", null, "bar"), join(make("p"), make("span", name), make("b", label)), track);
}
function showBudgets(budgets) {
  const rows = budgets.map((budget) => {
    if (budget.limit === null) return bar(budget.name, money(budget.used) + ", no limit", 0);
    const share = budget.limit ? budget.used / budget.limit : 1;
    return bar(budget.name, money(budget.used) + " of " + money(budget.limit) + ", " + percent(share), share, share >= 1 ? "bad" : share >= 0.8 ? "warn" : "");
  });
  if (!rows.length) rows.push(make("p", "No solver has told of its budgets.", "quiet"));
  put($("budgets"), ...rows);
}

function cells(values, numeric) {
  const line = make("tr");
  values.forEach((value, place) => {
    const cell = make(place ? "td" : "th", value instanceof Node ? null : value, numeric.includes(place) ? "n" : "");
    if (!place) cell.scope = "row";
    if (value instanceof Node) join(cell, value);
    join(line, cell);
  });
  return line;
}
function empty(columns, text) {
  const cell = make("td", text, "quiet");
  cell.colSpan = columns;
  return join(make("tr"), cell);
}
function showTables(state) {
  const providers = state.providers.map((p) => cells([p.name, make("span", p.state, "tag " + (p.state === "closed" ? "good" : p.state === "half-open" ? "warn" : "bad")),
    percent(p.solved), whole(p.solves), time(p.p50), time(p.p95), p.limit === null ? NONE : whole(p.limit), money(p.spent), money(p.balance)], [2, 3, 4, 5, 6, 7, 8]));
  put($("providers"), ...(providers.length ? providers : [empty(9, "Nothing was solved in the last five minutes.")]));
  const sites = state.sites.map((s) => cells([s.name, percent(s.captcha), whole(s.fetches), whole(s.failures), whole(s.dead), money(s.spent),
    s.factor < 1 ? make("span", "slowed to " + percent(s.factor), "tag warn") : "full"], [1, 2, 3, 4, 5]));
  put($("sites"), ...(sites.length ? sites : [empty(7, "Nothing was fetched in the last five minutes.")]));
  const most = Math.max(...state.dead.reasons.map((each) => each.count), 1);
  const reasons = state.dead.reasons.map((each) => bar(each.name, whole(each.count), each.count / most));
  put($("reasons"), ...(reasons.length ? reasons : [make("p", "None in the last five minutes.", "quiet")]));
  const samples = state.dead.samples.map((each) => join(make("li"), make("strong", each.reason), " " + each.site, make("span", each.message + " (" + each.job + ")")));
  put($("samples"), ...(samples.length ? samples : [make("li", "None since the monitor began.", "quiet")]));
}

function show(state) {
  $("door").hidden = true;
  $("board").hidden = false;
  showStatus(state);
  showAlerts(state.alerts);
  showKey(state);
  showPipeline(state);
  showCharts(state.charts, state.chart_s);
  showWalls(state);
  showBudgets(state.budgets);
  showTables(state);
}

function lost(text) {
  $("status").textContent = text;
  $("status").dataset.state = "bad";
}

function askForToken(wrong) {
  sessionStorage.removeItem(TOKEN);
  $("board").hidden = true;
  $("door").hidden = false;
  $("door-error").textContent = wrong ? "That is not the token." : "";
  lost("A token is needed");
  $("token").focus();
}

// fetch and not EventSource: that one cannot send the token.
async function follow() {
  const token = sessionStorage.getItem(TOKEN);
  const ending = new AbortController();
  let timer = setTimeout(() => ending.abort(), SILENT_MS);
  try {
    const answer = await fetch("stream", { headers: token ? { Authorization: "Bearer " + token } : {}, signal: ending.signal });
    if (answer.status === 401) { askForToken(token !== null); return false; }
    if (!answer.ok) throw new Error("status " + answer.status);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let kept = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), SILENT_MS);
      const events = (kept + value).split("\n\n");
      kept = events.pop();
      if (events.length) show(JSON.parse(events[events.length - 1].replace(/^data: /, "")));
    }
  } catch (error) {
    // Whatever it was: it is told below and tried again.
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
  lost("The monitor does not answer; trying again…");
  return true;
}

async function run() {
  while (await follow()) await new Promise((wake) => setTimeout(wake, 2000));
}
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value);
  $("token").value = "";
  run();
});
run();
