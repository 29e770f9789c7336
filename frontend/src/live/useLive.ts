import { onScopeDispose, shallowRef, type ShallowRef } from "vue";

import { INITIAL_STATE, LiveConnection, type LiveState, type Surroundings } from "./connection";

/** Follows a channel for as long as the component lives. */
export function useLive(login: string, surroundings: Surroundings): Readonly<ShallowRef<LiveState>> {
  const state = shallowRef(INITIAL_STATE);
  const connection = new LiveConnection(login, surroundings, (change) => {
    state.value = change;
  });

  const online = (): void => {
    connection.wentOnline();
  };
  const offline = (): void => {
    connection.check();
  };
  const visible = (): void => {
    if (document.visibilityState === "visible") connection.check();
  };
  window.addEventListener("online", online);
  window.addEventListener("offline", offline);
  document.addEventListener("visibilitychange", visible);
  onScopeDispose(() => {
    window.removeEventListener("online", online);
    window.removeEventListener("offline", offline);
    document.removeEventListener("visibilitychange", visible);
    connection.stop();
  });

  connection.start();
  return state;
}
