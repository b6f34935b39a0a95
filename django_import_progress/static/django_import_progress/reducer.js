// What a bar shows, by what it showed and an event: the twin of shown.py.

const isNumber = (value) => typeof value === "number";
const asText = (value) => String(value ?? "");
const joined = (texts) => texts.map((text) => text.replaceAll(" ", "\xa0")).join(" · ");
const quarter = (percent) => Math.floor(percent / 25);
const isTerminal = (status) => ["done", "failed", "cancelled"].includes(status);

export const ends = (type, value) =>
  type === "gone" || (type === "job" && isTerminal(value.status));

export function begin({ status, notice }, bar) {
  const isOver = isTerminal(status);
  const percent = bar?.position >= 0 ? bar.value : null;
  return { status, percent, isOver, canCancel: !isOver && !notice };
}

export function reduce(before, type, value, texts, label) {
  const now = { ...before, ...EFFECTS[type](value, before), isOver: ends(type, value) };
  const { job, status, percent, isOver } = now;
  const notice = isOver ? "" : noticeOf(now);
  const parts = job ? partsOf(job, texts) : {};
  if (notice || isOver) parts.pace = "";
  const whole = { percent: Math.floor(percent) };
  if (isNumber(percent)) parts.percent = fill(texts.percent ?? "{percent}%", whole);
  parts.status = named(texts.statuses, status);
  parts.notice = named(texts.notices, notice);
  let news = isOver ? [parts.status, parts.error].filter(Boolean).join(". ") : "";
  if (!isOver && before.job && quarter(percent) > quarter(before.percent)) news = parts.percent;
  parts.news = news && fill(texts.news ?? "{news}", { label, news });
  const canCancel = !isOver && notice !== "expired" && notice !== "cancelling";
  return { ...now, notice, parts, canCancel };
}

const EFFECTS = {
  job: (job, before) => ({
    job,
    status: typeof job.status === "string" && job.status ? job.status : "waiting",
    percent: percentOf(job, before),
    isOffline: false,
    isExpired: false,
    isAsking: false,
  }),
  gone: () => ({ status: "gone" }),
  offline: (isOffline) => ({ isOffline }),
  // Else it may just not be there yet.
  expired: (_, { status }) => ({ isExpired: status !== "waiting" }),
  asking: () => ({ isAsking: true, isRefused: false }),
  refused: () => ({ isAsking: false, isRefused: true }),
};

function noticeOf({ job, isExpired, isOffline, isRefused, isAsking }) {
  if (isExpired) return "expired";
  if (isOffline) return "offline";
  if (isRefused) return "refused";
  if (job?.stalled) return "stalled";
  return isAsking || job?.cancelling ? "cancelling" : "";
}

/** Within a stage of an attempt it does not go back, though the total may grow. */
function percentOf(job, { job: last, percent }) {
  const names = ["attempt", "started_at", "status", "stage"];
  const isSame = last && names.every((name) => last[name] === job[name]);
  return isSame && isNumber(job.percent) ? Math.max(percent, job.percent) : job.percent;
}

function partsOf(job, texts) {
  const say = (name, agreesWith, numbers) => fill(formOf(texts, name, agreesWith), numbers, texts);
  const { processed_rows: processed, total_rows: total } = job;
  const { rows_per_second: rate, eta_seconds: seconds } = job;
  const counts = (texts.counters ?? []).filter((name) => isNumber(job[name]) && job[name] > 0);
  const pace = [];
  const add = (name, count) => count > 0 && pace.push(say(name, count, { count }));
  if (isNumber(rate)) add("rate", rate < 9.95 ? Math.round(rate * 10) / 10 : Math.round(rate));
  if (isNumber(seconds)) {
    if (seconds <= 60) add("seconds", Math.ceil(seconds));
    else if (seconds <= 3600) add("minutes", Math.ceil(seconds / 60));
    else add("hours", Math.ceil(seconds / 3600));
  }
  let rows = "";
  if (isNumber(processed)) {
    if (!isNumber(total)) rows = say("rows", processed, { processed });
    else if (processed > total) rows = say("rows_over", processed, { processed, total });
    else rows = say("rows_of", total, { processed, total });
  }
  return {
    stage: asText(job.stage),
    percent: "",
    rows,
    counts: joined(counts.map((name) => say(name, job[name], { count: job[name] }))),
    pace: joined(pace),
    error: asText(job.error_message),
  };
}

const named = (names, name) => (names && Object.hasOwn(names, name) ? names[name] : name);

/** Each form comes with numbers whose category ours must share. */
function formOf({ language, plurals }, name, number) {
  const forms = plurals?.[name] ?? [];
  const rules = new Intl.PluralRules(language);
  const count = Math.abs(Math.ceil(number));
  const find = (isRight) => forms.find(([, samples]) => samples.some(isRight));
  const alike = (sample) => rules.select(sample) === rules.select(count);
  return (find((sample) => sample === count) ?? find(alike) ?? forms.at(-1))?.[0];
}

function fill(pattern, values, { decimal = ".", separator = "", groups = "$^" } = {}) {
  const said = (value) => {
    if (!isNumber(value)) return value;
    const [whole, fraction] = String(value).split(".");
    return whole.replace(new RegExp(groups, "g"), separator) + (fraction ? decimal + fraction : "");
  };
  const filled = pattern?.replace(/\{(\w+)\}/g, (_, name) => said(values[name]));
  return filled ?? Object.values(values).join(" / ");
}
