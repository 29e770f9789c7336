import { inject, type InjectionKey } from "vue";

import type { SiteConfig } from "../config";
import type { Session } from "../session/session";

export const configKey: InjectionKey<SiteConfig> = Symbol("config");
export const sessionKey: InjectionKey<Session> = Symbol("session");

function provided<T>(key: InjectionKey<T>): T {
  const value = inject(key);
  if (value === undefined) throw new Error("used outside of the application");
  return value;
}

export const useConfig = (): SiteConfig => provided(configKey);
export const useSession = (): Session => provided(sessionKey);
