// Adds a row for each new import that the site's own WebSocket announces, newest first. The bars in the
// rows are live by themselves.

const rows = document.querySelector("#imports");
const notice = document.querySelector("#connection");
const LONGEST_PAUSE = 10_000;
const known = new Set([...rows.children].map((row) => row.dataset.import));
let pause = 1_000;

async function show({ job_id: id, gone }) {
  if (gone) {
    rows.querySelector(`[data-import="${CSS.escape(id)}"]`)?.remove();
    known.delete(id);
  } else if (!known.has(id)) {
    known.add(id);
    const response = await fetch(`${rows.dataset.row}?import=${encodeURIComponent(id)}`);
    if (response.ok) rows.insertAdjacentHTML("afterbegin", await response.text());
  }
}

function connect() {
  const url = new URL(rows.dataset.socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => {
    pause = 1_000;
    notice.textContent = "Live";
  });
  socket.addEventListener("message", (event) => show(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    notice.textContent = "Connecting…";
    setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  });
}

connect();
