// Types of what import-progress.js and the endpoints pass on. Generated: do not edit.

/** A job. Fields of your own travel along. */
export interface Representation {
  /** The job's id, even if the request used a ticket. */
  job_id: string;
  /** 0 to 100 by tenths, rounded down; 100 once done; null if the total is unknown or 0. */
  percent: number | null;
  /** Whether the worker has been silent for too long. */
  stalled: boolean;
  /** Whether cancellation was requested and the job has not ended yet. */
  cancelling: boolean;
  /** Null until the status is done; partial: some rows were rejected; nothing: no row was accepted. */
  outcome: "complete" | "partial" | "nothing" | null;
  /** Free text; done, failed and cancelled end a job. */
  status?: string;
  /** What the job is doing, for its viewers. */
  stage?: string | null;
  /** How many rows there are; null if unknown. */
  total_rows?: number | null;
  /** How many rows have been processed, rejected ones included. */
  processed_rows?: number;
  /** How many rows were rejected. */
  rejected_rows?: number;
  /** Why the job failed, for its viewers. */
  error_message?: string | null;
  /** The title of the bar. */
  label?: string | null;
  /** import, export or task; selects the wording. */
  kind?: string;
  /** A link to the result. Check the URL before you show it: it may be of another program. */
  link?: { text: string; url: string } | null;
  /** When the snapshot was last written (ISO 8601, UTC). */
  updated_at?: string;
  /** When the job was created (ISO 8601, UTC). */
  queued_at?: string | null;
  /** When the current attempt began (ISO 8601, UTC). */
  started_at?: string | null;
  /** When the job ended (ISO 8601, UTC). */
  ended_at?: string | null;
  /** The number of the current attempt, from 1. */
  attempt?: number;
  /** The current rate; null while no worker is importing. */
  rows_per_second?: number | null;
  /** The time left; null while no worker is importing. */
  eta_seconds?: number | null;
  /** True if only the outcome of the job is left; otherwise missing. */
  expired?: boolean;
  [field: string]: unknown;
}

declare global {
  interface HTMLElementEventMap {
    "import-progress:change": CustomEvent<Representation>;
    /** `initial` is true for a bar that was rendered as ended. */
    "import-progress:end": CustomEvent<Representation & { initial?: boolean }>;
  }
}
