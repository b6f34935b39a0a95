// What a bar shows, by what it showed and an event: the twin of shown.py.

const LONGEST_FORECAST_S = 3 * 86400; // Longer would be a guess.
const WAIT_STEP_S = 15; // Below a minute a wait is shown in steps.
const UNSTARTED_S = 60;
const WAITS = [
  ["days", 172800, 86400],
  ["hours", 3600, 3600],
  ["minutes", 60, 60],
];

const isNumber = (value) => typeof value === "number";
const asText = (value) => String(value ?? "");
const joined = (texts) => texts.map((text) => text.replaceAll(" ", "\xa0")).join(" · ");
const quarter = (percent) => Math.floor(percent / 25);
const isTerminal = (status) => ["done", "failed", "cancelled"].includes(status);

export const ends = (type, value) =>
  type === "gone" || type === "missing" || (type === "job" && isTerminal(value.status));

const mayCancel = (isOver, notice) => !isOver && notice !== "expired" && notice !== "cancelling";

/** `at`: milliseconds by a clock that only goes forward. */
export function begin({ status, notice, waited }, bar, at) {
  const isOver = isTerminal(status) || status === "gone";
  const percent = bar?.position >= 0 ? bar.value : null;
  const since = waited === undefined ? null : at - waited * 1000;
  const isSaid = notice === "unstarted";
  return { status, percent, since, isSaid, isOver, canCancel: mayCancel(isOver, notice) };
}

export function reduce(before, type, value, texts, label, at) {
  const now = { ...before, ...EFFECTS[type](value, before, at), isOver: ends(type, value) };
  const { job, status, percent, isOver } = now;
  const waited = isNumber(now.since) ? (at - now.since) / 1000 : null;
  const notice = isOver ? "" : noticeOf(now, waited);
  const parts = job ? partsOf(job, texts) : {};
  if (notice || isOver) parts.pace = "";
  const whole = { percent: Math.floor(percent) };
  if (isNumber(percent)) parts.percent = fill(texts.percent ?? "{percent}%", whole);
  parts.status = (now.isMissing && texts.missing) || named(texts.statuses, status);
  parts.waited = waited === null ? "" : waitOf(waited, texts);
  parts.notice = named(texts.notices, notice);
  let news = isOver ? [parts.status, parts.error].filter(Boolean).join(". ") : "";
  if (!isOver && before.job && quarter(percent) > quarter(before.percent)) news = parts.percent;
  if (notice === "unstarted" && !now.isSaid) {
    news = parts.notice;
    now.isSaid = true;
  }
  parts.news = news && fill(texts.news ?? "{news}", { label, news });
  return { ...now, waited, notice, parts, canCancel: mayCancel(isOver, notice) };
}

const EFFECTS = {
  job: (job, before, at) => ({
    job,
    status: typeof job.status === "string" && job.status ? job.status : "waiting",
    percent: job.percent,
    ...waitIn(job, before, at),
    isOffline: false,
    isExpired: false,
    isAsking: false,
  }),
  gone: () => ({ status: "gone", since: null }),
  missing: () => ({ status: "gone", isMissing: true }),
  offline: (isOffline) => ({ isOffline }),
  shown: (isShown) => ({ isHidden: !isShown }),
  tick: () => ({}),
  // Else it may just not be there yet.
  expired: (_, { status }) => ({ isExpired: status !== "waiting" }),
  asking: () => ({ isAsking: true, isRefused: false }),
  refused: () => ({ isAsking: false, isRefused: true }),
};

/** Since when a job is queued: as the page said first, later on since it was heard of. */
function waitIn({ status }, before, at) {
  if (status !== "queued") return { since: null, isSaid: false };
  return before.status === "queued" ? {} : { since: at };
}

function noticeOf({ job, isExpired, isOffline, isRefused, isAsking }, waited) {
  if (isExpired) return "expired";
  if (isOffline) return "offline";
  if (isRefused) return "refused";
  if (job?.stalled) return "stalled";
  if (isAsking || job?.cancelling) return "cancelling";
  return waited >= UNSTARTED_S ? "unstarted" : "";
}

function partsOf(job, texts) {
  const say = (...what) => said(texts, ...what);
  const { processed_rows: processed, total_rows: total } = job;
  const { rows_per_second: rate, eta_seconds: seconds } = job;
  const counts = (texts.counters ?? []).filter((name) => isNumber(job[name]) && job[name] > 0);
  const pace = [];
  const add = (name, count) => count > 0 && pace.push(say(name, count, { count }));
  if (isNumber(rate)) add("rate", rate < 9.95 ? Math.round(rate * 10) / 10 : Math.round(rate));
  if (isNumber(seconds) && seconds > 0 && seconds <= LONGEST_FORECAST_S)
    pace.push(leftOf(seconds, texts));
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

/** Up to 60 seconds or minutes, then hours and minutes. */
function leftOf(seconds, texts) {
  const say = (name, count, more) => said(texts, name, count, { count, ...more });
  if (seconds <= 60) return say("seconds", Math.ceil(seconds));
  const all = Math.ceil(seconds / 60);
  if (seconds <= 3600) return say("minutes", all);
  const [hours, rest] = [Math.floor(all / 60), all % 60];
  return rest ? say("hours_and", hours, { minutes: say("and_minutes", rest) }) : say("hours", hours);
}

function waitOf(seconds, texts) {
  const say = (unit, count) => said(texts, `waited_${unit}`, count, { count });
  const found = WAITS.find(([, least]) => seconds >= least);
  if (found) return say(found[0], Math.floor(seconds / found[2]));
  const steps = Math.floor(seconds / WAIT_STEP_S) * WAIT_STEP_S;
  return steps > 0 ? say("seconds", steps) : "";
}

const said = (texts, name, agreesWith, values) =>
  fill(formOf(texts, name, agreesWith), values, texts);

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
  const text = (value) => {
    if (!isNumber(value)) return value;
    const [whole, fraction] = String(value).split(".");
    return whole.replace(new RegExp(groups, "g"), separator) + (fraction ? decimal + fraction : "");
  };
  const filled = pattern?.replace(/\{(\w+)\}/g, (_, name) => text(values[name]));
  return filled ?? Object.values(values).join(" / ");
}
