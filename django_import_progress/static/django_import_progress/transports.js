// Three ways to be told of jobs, alike: (where, jobs, ears) => what ends it.

const JOBS_AT_ONCE = 50; // nginx takes 8 KiB of address.
const PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 30000;

export function sse({ base }, jobs, { job, gone, turn, fail }) {
  const sources = parts(jobs).map((part) => {
    const path = part.length > 1 ? `stream/?job=${part.join("&job=")}` : `jobs/${part}/stream/`;
    return new EventSource(base + path);
  });
  const close = () => sources.forEach((source) => source.close());
  const isEach = (state) => sources.every(({ readyState }) => readyState === state);
  for (const source of sources) {
    source.onopen = () => isEach(EventSource.OPEN) && turn(true);
    source.onmessage = ({ data }) => job(JSON.parse(data));
    source.addEventListener("gone", ({ data }) => gone(JSON.parse(data)));
    source.addEventListener("end", () => {
      source.close();
      if (isEach(EventSource.CLOSED)) fail();
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return turn(false); // It mends itself.
      close(); // The browser gives up; we don't.
      fail();
    };
  }
  return close;
}

export function websocket(at, jobs, { job, gone, expired, turn, fail }) {
  const url = new URL(at.websocket, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const sockets = parts(jobs).map((part) => {
    const socket = new WebSocket(url);
    socket.onopen = () => {
      for (const name of part) socket.send(JSON.stringify({ action: "watch", job: name }));
      if (sockets.every(({ readyState }) => readyState === WebSocket.OPEN)) turn(true);
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      // It is in each representation, and in no error.
      if ("percent" in message) job(message);
      else if (message.gone) gone(message);
      else expired(message.job);
    };
    socket.onclose = fail;
    return socket;
  });
  return () => {
    for (const socket of sockets) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  };
}

/** One after the other, so that one connection will do. */
export function polling({ base }, jobs, { job, gone, expired, turn }) {
  const stop = new AbortController();
  const known = new Map();
  let pause = PAUSE_MS;
  let timer;

  async function ask(id, reference) {
    const answer = await fetch(`${base}jobs/${reference}/`, stop).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (stop.signal.aborted) return;
    if (found) known.set(id, 0);
    if (found) job(found);
    if (answer?.status !== 404) return found && 200;
    // Not at once: Redis may have been emptied just now.
    if (!known.has(id)) expired(reference);
    else if (known.set(id, known.get(id) + 1).get(id) > 1) gone({ job_id: id });
    return 404;
  }

  async function round() {
    const answers = [];
    for (const [id, reference] of [...jobs]) answers.push(await ask(id, reference));
    if (stop.signal.aborted) return;
    turn(answers.some(Boolean));
    pause = answers.includes(200) ? PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS);
    timer = setTimeout(round, pause * (0.75 + Math.random() / 2));
  }

  round();
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}

function parts(jobs) {
  const references = [...jobs.values()];
  const found = [];
  while (references.length) found.push(references.splice(0, JOBS_AT_ONCE));
  return found;
}
