// Shows all imports over the site's own WebSocket: one row per import, newest first.

const rows = document.querySelector("#imports");
const template = document.querySelector("#import-row");
const notice = document.querySelector("#connection");
const ENDS = new Set(["done", "failed", "cancelled"]);
const LONGEST_PAUSE = 10_000;
let pause = 1_000;

function show(job) {
  let row = rows.querySelector(`[data-job="${CSS.escape(job.job_id)}"]`);
  if (job.gone) {
    row?.remove();
    return;
  }
  if (!row) {
    row = template.content.firstElementChild.cloneNode(true);
    row.dataset.job = job.job_id;
    row.querySelector("code").textContent = job.job_id;
    row.querySelector("progress").setAttribute("aria-label", `Import ${job.job_id}`);
    rows.prepend(row);
  }
  row.dataset.status = job.status;
  const stalled = job.stalled ? " (stalled)" : "";
  row.querySelector("[data-show=status]").textContent = `${job.status ?? ""}${stalled}`;
  const done = job.processed_rows ?? 0;
  const total = job.total_rows;
  row.querySelector("[data-show=rows]").textContent =
    total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : done.toLocaleString("en");
  // Only updates of the relay have a percentage.
  const percent = job.percent ?? (job.status === "done" ? 100 : total ? (100 * done) / total : null);
  const bar = row.querySelector("progress");
  if (percent !== null) bar.value = percent;
  else if (ENDS.has(job.status)) bar.value = 0;
  else bar.removeAttribute("value");
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
