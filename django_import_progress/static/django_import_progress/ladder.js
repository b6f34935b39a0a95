// Connections, each by the best way that works.

const STREAMS = 2;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30000;
const PATIENCE_MS = 5000;
const OFFLINE_MS = 3000;
const LOOK_MS = 5000;
const QUIET_MS = 60000; // A sleep may have killed it.

/** Two connections at most; jobs that don't fit into them are polled for. */
export class Ladders {
  #at;
  #ways;
  #ends;
  #tell;
  #jobs = new Map();
  #all = [];
  #isFull = false;

  constructor(at, ways, ends, tell) {
    this.#at = at;
    this.#ways = ways;
    this.#ends = ends;
    this.#tell = tell;
  }

  /** Watch these: references by job's id; `isNew`: tell of all. */
  watch(jobs, isNew) {
    const isEach = [...jobs.keys()].every((id) => this.#jobs.has(id));
    if (isEach && jobs.size === this.#jobs.size && !isNew) return;
    this.close();
    this.#jobs = jobs;
    const parts = this.#ways.partsOf(jobs);
    const rest = parts.splice(this.#at.transport === "polling" ? 0 : STREAMS);
    this.#isFull = parts.length > 0 && rest.length > 0;
    this.#all = parts.map((part) => this.#ladder(part, this.#at));
    const polled = new Map(rest.flatMap((part) => [...part]));
    if (polled.size) this.#all.push(this.#ladder(polled, { ...this.#at, transport: "polling" }));
  }

  close() {
    for (const ladder of this.#all) ladder.close();
  }

  #ladder(jobs, at) {
    return new Ladder(at, jobs, this.#ways, this.#ends, (type, id, value) => {
      this.#tell(type, id, value);
      if (!this.#ends(type, value)) return;
      this.#jobs.delete(id);
      // Those that were polled for may have room by now.
      if (this.#isFull && this.#ways.partsOf(this.#jobs).length <= STREAMS)
        this.watch(this.#jobs, true);
    });
  }
}

/** One connection. Tells events: type, job's id, value. */
class Ladder {
  #at;
  #ends;
  #tell;
  #streams;
  #poll;
  #jobs;
  #stream;
  #polling;
  #isOpen = false;
  #isAnswered = false;
  #isOffline = null;
  #failures = 0;
  #heardAt = 0;
  #timers = {};

  constructor(at, jobs, { sse, websocket, polling }, ends, tell) {
    const { transport } = at;
    this.#at = at;
    this.#jobs = jobs;
    this.#ends = ends;
    this.#tell = tell;
    const all = at.websocket ? [sse, websocket] : [sse];
    this.#streams = transport ? [{ sse, websocket }[transport]] : all;
    if (!transport || transport === "polling") this.#poll = polling;
    this.#open();
  }

  close() {
    this.#closeStream();
    this.#closePolling();
    for (const name in this.#timers) this.#stop(name);
  }

  #open() {
    this.close();
    this.#heardAt = Date.now();
    this.#look();
    this.#connected();
    this.#try();
  }

  #look() {
    if (Date.now() - this.#heardAt > QUIET_MS) this.#open();
    else this.#start("look", LOOK_MS, () => this.#look());
  }

  #try() {
    const listen = this.#streams[this.#failures % this.#streams.length];
    if (!listen) return this.#askToo();
    this.#wait();
    this.#stream = listen(this.#at, this.#jobs, {
      ...this.#ears(() => {
        this.#failures = 0;
        this.#stop("patience");
        this.#closePolling();
      }),
      turn: (isOpen) => {
        this.#isOpen = isOpen;
        this.#connected();
        if (!isOpen && !this.#timers.patience) this.#wait();
      },
      fail: () => {
        this.#closeStream();
        this.#connected();
        if (++this.#failures >= this.#streams.length) this.#askToo();
        const longest = Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), LONGEST_RETRY_MS);
        this.#start("retry", longest * (0.5 + Math.random() / 2), () => this.#try());
      },
    });
  }

  #wait() {
    this.#start("patience", PATIENCE_MS, () => this.#askToo());
  }

  #askToo() {
    if (!this.#poll || this.#polling) return;
    const { expired, ...ears } = this.#ears(() => {});
    this.#polling = this.#poll(this.#at, this.#jobs, {
      ...ears,
      // Else it may just not be there yet.
      expired: (reference) => this.#isOpen || expired(reference),
      turn: (isAnswered) => {
        this.#isAnswered = isAnswered;
        this.#connected();
      },
    });
  }

  #ears(onNews) {
    const jobs = this.#jobs;
    const hear = (type, id, value) => {
      onNews();
      this.#heardAt = Date.now();
      if (this.#ends(type, value)) jobs.delete(id);
      this.#tell(type, id, value);
      if (!jobs.size) this.close();
    };
    const expired = (reference) => {
      for (const [id, name] of jobs) if (name === reference) hear("expired", id);
    };
    return {
      job: (job) => hear("job", job.job_id, job),
      gone(job) {
        const id = job.job_id; // A reference, where the job may not be watched.
        if (jobs.has(id)) hear("gone", id, job);
        else expired(id);
      },
      expired,
    };
  }

  #connected() {
    const say = (isOffline) => {
      if (this.#isOffline === isOffline) return;
      this.#isOffline = isOffline;
      for (const id of [...this.#jobs.keys()]) this.#tell("offline", id, isOffline);
    };
    if (this.#isOpen || this.#isAnswered) {
      this.#stop("offline");
      say(false);
    } else if (!this.#timers.offline) this.#start("offline", OFFLINE_MS, () => say(true));
  }

  #closeStream() {
    this.#stream?.();
    this.#stream = null;
    this.#isOpen = false;
  }

  #closePolling() {
    this.#polling?.();
    this.#polling = null;
    this.#isAnswered = false;
  }

  #start(name, milliseconds, then) {
    this.#stop(name);
    this.#timers[name] = setTimeout(() => {
      this.#timers[name] = 0;
      then();
    }, milliseconds);
  }

  #stop(name) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = 0;
  }
}
