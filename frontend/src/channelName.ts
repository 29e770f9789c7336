/** What a person typed, read as a channel: its login, or why it cannot be one. */
export type ChannelInput = { login: string } | { problem: string };

const LONGEST = 25;
const LINK = /^(?:https?:\/\/)?(?:(?:www|m)\.)?twitch\.tv(?:\/(.*))?$/i;

/**
 * Reads a channel name as people give it: `name`, `@Name` or a link to the channel's page.
 * Twitch's rule for logins: 1 to 25 letters, digits or underscores, not beginning with an underscore.
 */
export function parseChannel(input: string): ChannelInput {
  let name = input.trim();
  const link = LINK.exec(name);
  if (link) {
    name = link[1]?.split(/[/?#]/)[0] ?? "";
    if (name === "") return { problem: "That link leads to Twitch, but not to a channel." };
  }
  name = name.replace(/^@/, "");

  if (name === "") return { problem: "Enter the name of a channel." };
  if (!/^\w+$/.test(name)) return { problem: "A channel name has only letters a–z, digits and underscores." };
  if (name.startsWith("_")) return { problem: "A channel name does not begin with an underscore." };
  if (name.length > LONGEST) return { problem: `A channel name has at most ${LONGEST} characters.` };
  return { login: name.toLowerCase() };
}
