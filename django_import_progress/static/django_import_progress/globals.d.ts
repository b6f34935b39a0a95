// The types of types.d.ts, which import-progress.js uses without an import: visitors would load it.

import type * as types from "./types.d.ts";

declare global {
  type AsNumber = types.AsNumber;
  type AsText = types.AsText;
  type Bar = types.Bar;
  type Close = types.Close;
  type Connect = types.Connect;
  type Connections = types.Connections;
  type Counted = types.Counted;
  type CreateConnections = types.CreateConnections;
  type CreateGroup = types.CreateGroup;
  type Effects = types.Effects;
  type EventType = types.EventType;
  type Fill = types.Fill;
  type Group = types.Group;
  type GroupOf = types.GroupOf;
  type InitialState = types.InitialState;
  type IsFinal = types.IsFinal;
  type IsNumber = types.IsNumber;
  type IsTerminal = types.IsTerminal;
  type Job = types.Job;
  type Jobs = types.Jobs;
  type Message = types.Message;
  type Named = types.Named;
  type Names = types.Names;
  type NoticesOf = types.NoticesOf;
  type NotifyBar = types.NotifyBar;
  type NotifyJob = types.NotifyJob;
  type NumberFormat = types.NumberFormat;
  type Options = types.Options;
  type PartsOf = types.PartsOf;
  type Plural = types.Plural;
  type Quarter = types.Quarter;
  type Reduce = types.Reduce;
  type Session = types.Session;
  type Shown = types.Shown;
  type State = types.State;
  type Texts = types.Texts;
  type TimeEnded = types.TimeEnded;
  type TimeText = types.TimeText;
  type Transport = types.Transport;
  type Transports = types.Transports;
  type WaitUnits = types.WaitUnits;
}
