// The types of types.d.ts, which import-progress.js uses without an import: visitors would load it.

import type * as types from "./types.d.ts";

declare global {
  type Bar = types.Bar;
  type Close = types.Close;
  type Connect = types.Connect;
  type Connections = types.Connections;
  type CreateConnections = types.CreateConnections;
  type CreateGroup = types.CreateGroup;
  type Effects = types.Effects;
  type EventType = types.EventType;
  type Group = types.Group;
  type InitialState = types.InitialState;
  type IsFinal = types.IsFinal;
  type IsNumber = types.IsNumber;
  type Job = types.Job;
  type Jobs = types.Jobs;
  type Message = types.Message;
  type Names = types.Names;
  type NoticesOf = types.NoticesOf;
  type NotifyBar = types.NotifyBar;
  type NotifyJob = types.NotifyJob;
  type NumberFormat = types.NumberFormat;
  type Options = types.Options;
  type PartsOf = types.PartsOf;
  type Reduce = types.Reduce;
  type Session = types.Session;
  type Shown = types.Shown;
  type State = types.State;
  type Texts = types.Texts;
  type Transport = types.Transport;
  type Transports = types.Transports;
}
