import { onScopeDispose, shallowRef, type ShallowRef } from "vue";

import { INITIAL_STATE, LiveConnection, type LiveState, type Surroundings } from "./connection";

/** Follows a channel for as long as the component lives; `retry` is for a viewer who does not want to wait. */
export function useLive(
  login: string,
  surroundings: Surroundings,
): { live: Readonly<ShallowRef<LiveState>>; retry: () => void } {
  const state = shallowRef(INITIAL_STATE);
  const connection = new LiveConnection(login, surroundings, (change) => {
    state.value = change;
  });

  const retry = (): void => {
    connection.retry();
  };
  const offline = (): void => {
    connection.check();
  };
  const visibility = (): void => {
    if (document.visibilityState === "visible") connection.shown();
    else connection.hidden();
  };
  window.addEventListener("online", retry);
  window.addEventListener("offline", offline);
  document.addEventListener("visibilitychange", visibility);
  onScopeDispose(() => {
    window.removeEventListener("online", retry);
    window.removeEventListener("offline", offline);
    document.removeEventListener("visibilitychange", visibility);
    connection.stop();
  });

  connection.start();
  if (document.visibilityState === "hidden") connection.hidden();
  return { live: state, retry };
}
