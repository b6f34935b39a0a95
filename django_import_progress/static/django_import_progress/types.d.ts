// What the functions of import-progress.js pass to each other. Only type checkers read this file.

/** A job as the endpoints represent it. */
export type Job = {
  job_id: string;
  kind?: unknown;
  label?: unknown;
  /** `{ text, url }`: shown once the job has ended, if the URL is safe. */
  link?: unknown;
  [field: string]: unknown;
};

/** References (job ids or tickets) by job id. */
export type Jobs = Map<string, string>;

/** The texts of a page, in its language: what widget/phrases.py returns. */
export type Texts = NumberFormat & TextsOfKind & {
  kinds?: { [kind: string]: TextsOfKind };
  /** A rule has the form's number for 0 to 199 and for a million. */
  rules?: string[];
  plurals?: { [name: string]: [rule: number, ...forms: string[]] };
  counters?: string[];
  ended?: string;
  took?: string;
  /** By how many milliseconds the page's time zone is ahead of UTC. */
  offset?: number;
  percent?: string;
  missing?: string;
  news?: string;
};
/** The texts that depend on the job's kind. */
export type TextsOfKind = {
  statuses?: Names;
  outcomes?: Names;
  notices?: Names;
  /** The name of the plural for rows that were not rejected. */
  accepted?: string;
};
export type NumberFormat = { decimal?: string; separator?: string; groups?: string };
export type Names = { [name: string]: string };

/** The state of a bar. */
export type State = {
  status: string;
  /** The kind of the job as rendered. */
  kind: string;
  percent: unknown;
  /** When the job was queued, in milliseconds of a monotonic clock. */
  since: number | null;
  job?: Job;
  isOver: boolean;
  /** The notices that apply and that screen readers have announced. */
  announced: string[];
  isOffline?: boolean;
  isExpired?: boolean;
  isMissing?: boolean;
  isCancelling?: boolean;
  isRefused?: boolean;
};

/** What a bar shows. */
export type Shown = State & {
  /** For how many seconds the job has been queued. */
  waited: number | null;
  notice: string;
  /** The text of each `data-show`. */
  parts: Names;
};

/** The state of a bar as it was rendered. */
export type InitialState = (
  dataset: DOMStringMap,
  bar: HTMLProgressElement | null,
  at: number,
) => State;

/** The state of a bar after an event; `at`: milliseconds of a monotonic clock. */
export type Reduce = (
  before: State,
  type: EventType,
  value: any,
  texts: Texts,
  label: string,
  at: number,
) => Shown;

/** What each event changes. */
export type Effects = Record<EventType, (value: any, before: State, at: number) => Partial<State>>;

/** The notices that apply, the most important one first. */
export type NoticesOf = (state: State, waited: number | null) => string[];

/** The texts of a job, by `data-show`. */
export type PartsOf = (job: Job, texts: Texts) => Names;
export type IsFinal = (type: EventType, value: any) => boolean;
export type IsTerminal = (status: any) => boolean;
export type IsNumber = (value: unknown) => value is number;

/** Django encodes a `Decimal` as text. */
export type AsNumber = (value: unknown) => unknown;
export type AsText = (value: any) => string;
export type Quarter = (percent: unknown) => number;

/** The text of a count, if it is positive. */
export type Counted = (name: string, count: unknown) => string[];
export type TimeEnded = (job: any, texts: any) => string;
export type TimeText = (seconds: number, texts: Texts) => string;

/** A unit of waiting times: from how many seconds on it is used, its length, and its step. */
export type WaitUnits = [unit: string, atLeast: number, seconds: number, counts?: number][];
export type Plural = (texts: Texts, name: string, number: number, values: object) => string;
export type Named = (names: Names | undefined, name: string) => string;
export type Fill = (pattern: string | undefined, values: any, format?: NumberFormat) => string;

/** Events that a bar receives. */
export type EventType =
  | "job" // A new representation.
  | "gone" // The job was deleted or has expired.
  | "missing" // The job did not appear in time.
  | "expired" // The page's ticket has expired.
  | "offline"
  | "tick" // Time has passed.
  | "cancelling" // The user has requested cancellation.
  | "refused"; // That request was refused.
export type NotifyBar = (type: EventType, value?: any) => void;
export type NotifyJob = (type: EventType, id: string, value?: any) => void;

/** The `detail` of `import-progress:end`. */
export type EndDetail = Job & {
  /** True if the bar was rendered as ended. */
  initial?: true;
};

/** A bar that is live. */
export type Bar = { dataset: DOMStringMap; notify: NotifyBar };

/** The live bars of a page that have the same endpoints. */
export type Group = { bars: Set<Bar>; update: (isNew?: boolean) => void };

export type CreateGroup = (options: Options) => Group;
export type GroupOf = (dataset: DOMStringMap) => Group;

/**
 * The part of one tab in a group that tabs share, from its first live bar to its last.
 *
 * The tab that holds the lock leads: it has the connections, and passes on the events.
 */
export type Session = { watchSoon: (isNew?: boolean) => void; leave: Close };

/** Two connections at most: two streams, or one and requests for the other jobs in turn. */
export type Connections = { watch: (jobs: Jobs, isNew: boolean) => void; close: Close };

/** What tabs send to each other: events, the tabs that the leader serves, or a tab's jobs. */
export type Message = {
  event?: Parameters<NotifyJob>;
  served?: number[];
  tab?: number;
  jobs?: Jobs;
  isNew?: boolean;
};

export type Options = {
  /** Identifies the connection among tabs. */
  key: string;
  /** Where the endpoints are. */
  base: string;
  websocket?: string;
  transport?: string;
  /** Whether this is the page's only connection: then it may poll beside an open stream. */
  isAlone?: boolean;
  /** Poll many jobs with one request. */
  inTurn?: boolean;
};

/**
 * Watches jobs, and returns a function that stops it. It reports "open" (true or false), "fail", and
 * events of type `EventType` with a `job_id`, which is a reference if the viewer is not authorized.
 */
export type Transport = (
  options: Options,
  jobs: Jobs,
  receive: (type: any, value?: any) => void,
) => Close;

export type Transports = { [name: string]: Transport };

/** Keeps jobs live by the best transport that works. */
export type Connect = (options: Options, jobs: Jobs, notify: NotifyJob) => Close;
export type CreateConnections = (options: Options, notify: NotifyJob) => Connections;
export type Close = () => void;
