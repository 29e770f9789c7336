import { inject, type InjectionKey } from "vue";

import type { SiteConfig } from "../config";

export const configKey: InjectionKey<SiteConfig> = Symbol("config");

/** The deployment's settings, as main.ts provides them. */
export function useConfig(): SiteConfig {
  const config = inject(configKey);
  if (config === undefined) throw new Error("used outside of the application");
  return config;
}
