import { inject, type InjectionKey } from "vue";

import type { Session } from "./session";

export const sessionKey: InjectionKey<Session> = Symbol("session");

/** The viewer's sign-in, as main.ts provides it. */
export function useSession(): Session {
  const session = inject(sessionKey);
  if (session === undefined) throw new Error("used outside of the application");
  return session;
}
