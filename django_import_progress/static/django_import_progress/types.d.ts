// What the functions of import-progress.js pass to each other. Only type checkers read this file.

/** A job as the endpoints represent it. */
export type Job = { job_id: string; [field: string]: unknown };

/** References (job ids or tickets) by job id. */
export type Jobs = Map<string, string>;

/** The texts of a page, in its language: what widget/phrases.py returns. */
export type Texts = NumberFormat & {
  rules?: string[];
  plurals?: { [name: string]: [rule: number, ...forms: string[]] };
  counters?: string[];
  statuses?: Names;
  notices?: Names;
  ended?: string;
  took?: string;
  /** By how many milliseconds the page's time zone is ahead of UTC. */
  offset?: number;
  percent?: string;
  missing?: string;
  news?: string;
};
export type NumberFormat = { decimal?: string; separator?: string; groups?: string };
export type Names = { [name: string]: string };

/** The state of a bar. */
export type State = {
  status: string;
  percent: unknown;
  /** When the job was queued, in milliseconds of a monotonic clock. */
  since: number | null;
  job?: Job;
  isOver: boolean;
  canCancel: boolean;
  /** Whether screen readers have announced that no worker has started the job. */
  isAnnounced: boolean;
  isOffline?: boolean;
  isHidden?: boolean;
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

/** Events that a bar receives. */
export type EventType =
  | "job" // A new representation.
  | "gone" // The job was deleted or has expired.
  | "missing" // The job did not appear in time.
  | "expired" // The page's ticket has expired.
  | "offline"
  | "shown" // The page became visible or hidden.
  | "tick" // Time has passed.
  | "cancelling" // The user has requested cancellation.
  | "refused"; // That request was refused.
export type NotifyBar = (type: EventType, value?: any) => void;
export type NotifyJob = (type: EventType, id: string, value?: any) => void;

/** Where the endpoints are; `key` identifies the connection among tabs. */
export type Options = { key: string; base: string; websocket?: string; transport?: string };

/** Callbacks of a transport. */
export type Handlers = {
  job: (job: Job) => void;
  /** The id is a reference if the viewer is not authorized. */
  gone: (job: { job_id: string }) => void;
  expired: (reference: string) => void;
  open: (isOpen: boolean) => void;
  fail: () => void;
};

/** Watches jobs, and returns a function that stops it. */
export type Transport = (options: Options, jobs: Jobs, handlers: Handlers) => Close;
export type Close = () => void;
