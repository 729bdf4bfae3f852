/*
 * Keeps an open page as it would be if it were loaded anew. All of what it shows comes from the server, escaped there; this
 * only puts it in its place. Without it the page says the same, as of when it was loaded.
 */

const { body } = document;
const { follows } = body.dataset;
const live = document.getElementById('live');

/** The server's clock may be another one than ours: how much later it is there, in milliseconds. */
let ahead = Number(body.dataset.now) - Date.now();
/** The newest event that this page knows. */
let known = body.dataset.event ?? '';

/** Milliseconds: between two questions where nothing can be listened to, and before one that failed is asked again. */
const POLL_MS = 4000;
const SLOW_POLL_MS = 15_000;
/** Between two loads of a page that shows many boots, and of the others. */
const CALM_MS = { boot: 1500, state: 250 };
/** Between two sentences that are read out. */
const SUMMARY_MS = 10_000;

/** What each kind of page is told of. */
const KINDS = { page: 'page', state: 'state', boot: 'boot,state' };

function say(is, text) {
  if (!live || live.dataset.is === is) return;
  live.dataset.is = is;
  live.textContent = text;
}

/* Times */

function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Says how long something lasts already, and what time that is here. */
function tellTimes() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll('time[data-since]')) {
    const text = `for ${span(now - Date.parse(time.dateTime))}`;
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll('time:not([title])'))
    time.title = new Date(time.dateTime).toLocaleString();
}

/* Putting new for old, so that what is the same stays: its focus, its selection, its place on the screen. */

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  // Somebody may be writing there.
  if (old.nodeName === 'INPUT' || old.nodeName === 'SELECT') return;
  morphChildren(old, [...fresh.childNodes]);
}

function morphChildren(old, fresh) {
  const named = new Map();
  for (const child of old.children) if (child.id) named.set(child.id, child);
  let at = old.firstChild;
  for (const child of fresh) {
    const same = child.id ? named.get(child.id) : undefined;
    if (same) {
      if (same !== at) old.insertBefore(same, at);
      else at = at.nextSibling;
      morph(same, child);
    } else if (at && !at.id && !child.id && at.nodeName === child.nodeName) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function elementOf(text) {
  const holder = document.createElement('template');
  holder.innerHTML = text.trim();
  return holder.content.firstElementChild;
}

/* The overview: pieces by their id, and the list of boots in its order. */

let summaryAt = 0;
let summaryLater;

function putSummary(text) {
  clearTimeout(summaryLater);
  const wait = summaryAt + SUMMARY_MS - Date.now();
  if (wait > 0) {
    summaryLater = setTimeout(() => putSummary(text), wait);
    return;
  }
  summaryAt = Date.now();
  putPiece('summary', text);
}

function putPiece(id, text) {
  const old = document.getElementById(id);
  const fresh = elementOf(text);
  if (old && fresh) morph(old, fresh);
}

function putPieces({ pieces, rows, order }) {
  for (const [id, text] of Object.entries(pieces)) {
    if (id === 'summary') putSummary(text);
    else putPiece(id, text);
  }
  const list = document.getElementById('running');
  if (!list) return;
  const wanted = new Set(order);
  for (const child of [...list.children]) if (!wanted.has(child.id)) child.remove();
  let at = list.firstElementChild;
  for (const id of order) {
    let row = document.getElementById(id);
    const fresh = rows[id] === undefined ? undefined : elementOf(rows[id]);
    if (!row) {
      if (!fresh) {
        // It was told while this page did not listen.
        reload();
        continue;
      }
      row = fresh;
      row.classList.add('fresh');
    } else if (fresh) {
      morph(row, fresh);
    }
    if (row === at) at = at.nextElementSibling;
    else list.insertBefore(row, at);
  }
}

/* The other pages: asked for anew. */

let loading = false;
let again = false;
let loadedAt = 0;
let loadLater;

function reload(calm = 0) {
  if (loading) {
    again = true;
    return;
  }
  clearTimeout(loadLater);
  const wait = loadedAt + calm - Date.now();
  loadLater = setTimeout(() => void load(), Math.max(0, wait));
}

async function load() {
  loading = true;
  loadedAt = Date.now();
  try {
    const response = await fetch(location.href, { headers: { Accept: 'text/html' } });
    const text = await response.text();
    if (!/^text\/html/.test(response.headers.get('content-type') ?? '')) return;
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    const main = fresh.getElementById('content');
    if (!main) return;
    morph(document.getElementById('content'), main);
    ahead = Number(fresh.body.dataset.now) - Date.now();
    known = fresh.body.dataset.event ?? known;
    tellTimes();
  } catch {
    say('lost', 'no connection');
  } finally {
    loading = false;
    if (again) {
      again = false;
      reload(CALM_MS[follows] ?? 0);
    }
  }
}

function take(kind, data, id) {
  if (id) known = id;
  if (kind === 'page') putPieces(data);
  else if (kind === 'reset') reload();
  else if (kind === 'state') reload(CALM_MS.state);
  else if (kind === 'boot') {
    const { boot } = body.dataset;
    if (boot === undefined || data.boot === boot) reload(boot === undefined ? CALM_MS.boot : CALM_MS.state);
  }
  tellTimes();
}

/* Listening: one stream, and none while nobody looks. */

let source;
let pollLater;

function address(...more) {
  const query = new URLSearchParams({ of: KINDS[follows], after: known });
  for (const name of more) query.set(name, '');
  return `/api/v1/events?${query}`;
}

function listen() {
  stop();
  source = new EventSource(address());
  source.onopen = () => say('live', 'live');
  for (const kind of ['page', 'boot', 'state', 'reset'])
    source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data), event.lastEventId));
  source.onerror = () => {
    // It comes again by itself, unless the server said no.
    if (source?.readyState !== EventSource.CLOSED) {
      say('lost', 'no connection');
      return;
    }
    stop();
    void poll();
  };
}

async function poll() {
  let wait = POLL_MS;
  try {
    const response = await fetch(address('poll'));
    if (!response.ok) throw new Error(String(response.status));
    const { last, reset, events } = await response.json();
    if (reset) reload();
    for (const { event, data, id } of events) take(event, data, id);
    known = last;
    say('polls', 'every few seconds');
  } catch {
    say('lost', 'no connection');
    wait = SLOW_POLL_MS;
  }
  if (!document.hidden) pollLater = setTimeout(() => void poll(), wait);
}

function stop() {
  source?.close();
  source = undefined;
  clearTimeout(pollLater);
}

function attend() {
  if (follows === 'none') return;
  if (document.hidden) {
    stop();
    say('rests', 'rests');
  } else listen();
}

document.addEventListener('visibilitychange', attend);
addEventListener('pagehide', stop);
addEventListener('pageshow', (event) => {
  if (event.persisted) attend();
});
setInterval(() => {
  if (!document.hidden) tellTimes();
}, 1000);
tellTimes();
attend();
