/** What the deployment tells the page: `config.json`, written beside the built site. */
export interface SiteConfig {
  stage: string;
  /** How viewers sign in: through Cognito, or by the API itself. */
  identity: CognitoConfig | { kind: "twitch" };
  twitch: {
    player_url: string;
    chat_url: string;
  };
}

export interface CognitoConfig {
  kind: "cognito";
  /** The user pool's issuer, as its tokens name it. */
  authority: string;
  client_id: string;
  /** Base URL of the pool's sign-in domain, without a trailing slash. */
  domain: string;
  /** The identity provider to go to directly, without the pool's page that offers a choice. */
  provider: string;
  /** The identity provider that asks for a streamer's consent, too. */
  streamer_provider: string;
}

/** The configuration is missing or not what this page was built for. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

function text(section: Record<string, unknown>, key: string, path: string): string {
  const value = section[key];
  if (typeof value !== "string" || value === "") throw new ConfigError(`${path}.${key} is missing`);
  return value;
}

function url(section: Record<string, unknown>, key: string, path: string): string {
  const value = text(section, key, path);
  if (!/^https?:\/\/[^/]/.test(value)) throw new ConfigError(`${path}.${key} is not a web address`);
  return value.replace(/\/+$/, "");
}

function section(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ConfigError(`${path} is missing`);
  return value as Record<string, unknown>;
}

function parseIdentity(identity: Record<string, unknown>): SiteConfig["identity"] {
  if (identity.kind === "twitch") return { kind: "twitch" };
  if (identity.kind !== "cognito") throw new ConfigError("identity.kind is unknown");
  return {
    kind: "cognito",
    // Compared with the tokens' issuer character by character: never trimmed.
    authority: text(identity, "authority", "identity"),
    client_id: text(identity, "client_id", "identity"),
    domain: url(identity, "domain", "identity"),
    provider: text(identity, "provider", "identity"),
    streamer_provider: text(identity, "streamer_provider", "identity"),
  };
}

/** Checks the shape of `config.json`; throws {@link ConfigError} with the name of the setting that is wrong. */
export function parseConfig(value: unknown): SiteConfig {
  const root = section(value, "config");
  const identity = section(root.identity, "identity");
  const twitch = section(root.twitch, "twitch");
  return {
    stage: text(root, "stage", "config"),
    identity: parseIdentity(identity),
    twitch: {
      player_url: url(twitch, "player_url", "twitch"),
      chat_url: url(twitch, "chat_url", "twitch"),
    },
  };
}

/** Fetches and checks `/config.json`; throws {@link ConfigError}. */
export async function loadConfig(): Promise<SiteConfig> {
  let body: unknown;
  try {
    const response = await fetch("/config.json", { cache: "no-cache" });
    if (!response.ok) throw new ConfigError(`config.json answered ${response.status}`);
    body = await response.json();
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    // HTML, which the site answers for unknown paths, means that the file is missing.
    throw new ConfigError("config.json could not be read", { cause: error });
  }
  return parseConfig(body);
}
