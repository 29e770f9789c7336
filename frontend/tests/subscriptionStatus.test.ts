import { flushPromises, mount } from "@vue/test-utils";
import { describe, expect, test, vi } from "vitest";

import type { Subscription } from "../src/api";
import { byStanding, standingOf, why } from "../src/channel/subscriptionStatus";
import SubscriptionStatus from "../src/channel/SubscriptionStatus.vue";
import { configKey } from "../src/composables/useConfig";
import { sessionKey } from "../src/session/useSession";
import { CONFIG, serveConfig } from "./siteConfig";

const subscription = (status: Subscription["status"], reason: string | null = null, event_type = "channel.follow"): Subscription => ({
  event_type,
  status,
  reason,
});

describe("a subscription's standing", () => {
  test.each([
    [subscription("enabled"), "live", null],
    [subscription("pending"), "starting", null],
    [subscription("absent"), "starting", null],
    [subscription("absent", "consent_required"), "consent", "a moderator’s consent is enough"],
    [subscription("absent", "consent_required", "channel.cheer"), "consent", null],
    [subscription("revoked", "authorization_revoked"), "consent", "the consent was taken back"],
    [subscription("revoked", "moderator_removed"), "consent", "the consent was taken back"],
    [subscription("absent", "limited"), "limited", null],
    [subscription("revoked", "notification_failures_exceeded"), "stopped", "Twitch could not deliver it for a while"],
    [subscription("failed", "something_new"), "stopped", "something new"],
    [subscription("failed", "constructor"), "stopped", "constructor"],
    [subscription("failed"), "stopped", null],
  ] as const)("of %j is %s", (given, standing, reason) => {
    expect(standingOf(given)).toBe(standing);
    expect(why(given)).toBe(reason);
  });

  test("groups the subscriptions, and knows no empty group", () => {
    const follows = subscription("absent", "consent_required");
    const online = subscription("enabled", null, "stream.online");
    expect(byStanding([follows, online])).toEqual([
      { standing: "live", subscriptions: [online] },
      { standing: "consent", subscriptions: [follows] },
    ]);
    expect(byStanding([])).toEqual([]);
  });
});

describe("the list of subscriptions", () => {
  function list(subscriptions: Subscription[]) {
    serveConfig();
    const session = { signIn: vi.fn(() => Promise.resolve()) };
    const wrapper = mount(SubscriptionStatus, {
      props: { login: "marlowe", name: "<b>Marlowe</b>", subscriptions },
      global: { provide: { [configKey as symbol]: CONFIG, [sessionKey as symbol]: session } },
    });
    return { wrapper, session };
  }

  const testid = (name: string): string => `[data-testid="${name}"]`;

  test("changes as soon as the subscriptions do", async () => {
    const { wrapper } = list([subscription("absent", "consent_required")]);
    expect(wrapper.get(testid("topics")).attributes("data-standing")).toBe("consent");
    await wrapper.setProps({ subscriptions: [subscription("enabled")] });
    expect(wrapper.findAll(testid("topics")).map((group) => group.attributes("data-standing"))).toEqual(["live"]);
    expect(wrapper.find(testid("sign-in-streamer")).exists()).toBe(false);
  });

  test("says whose consent is missing, and lets the streamer sign in for it", async () => {
    const { wrapper, session } = list([subscription("absent", "consent_required")]);
    expect(wrapper.get("bdi").text()).toBe("<b>Marlowe</b>");
    await wrapper.get(testid("sign-in-streamer")).trigger("click");
    await flushPromises();
    expect(session.signIn).toHaveBeenCalledWith("marlowe", "streamer");
  });

  test("says when that sign-in cannot be started", async () => {
    const { wrapper, session } = list([subscription("absent", "consent_required")]);
    vi.spyOn(console, "error").mockReturnValue();
    session.signIn.mockRejectedValue(new Error("no crypto"));
    await wrapper.get(testid("sign-in-streamer")).trigger("click");
    await flushPromises();
    expect(wrapper.get(testid("error")).text()).toContain("try again");
    expect(wrapper.get(testid("sign-in-streamer")).attributes("disabled")).toBeUndefined();
  });

  test("explains what is limited", () => {
    const { wrapper } = list([subscription("absent", "limited", "channel.raid")]);
    expect(wrapper.get(testid("topics")).text()).toContain("when there is room");
  });

  test("says nothing before it knows anything", () => {
    expect(list([]).wrapper.find("section").exists()).toBe(false);
  });
});
