import { flushPromises, mount } from "@vue/test-utils";
import { describe, expect, test, vi } from "vitest";

import ChannelTopics from "../src/channel/SubscriptionStatus.vue";
import type { Topic } from "../src/api";
import { sessionKey } from "../src/composables/injected";
import { byStanding, standingOf, why } from "../src/channel/subscriptionStatus";

const topic = (status: Topic["status"], reason: string | null = null, event_type = "channel.follow"): Topic => ({
  event_type,
  status,
  reason,
});

describe("a topic's standing", () => {
  test.each([
    [topic("enabled"), "live", null],
    [topic("pending"), "starting", null],
    [topic("absent"), "starting", null],
    [topic("absent", "consent_required"), "consent", "a moderator’s consent is enough"],
    [topic("absent", "consent_required", "channel.cheer"), "consent", null],
    [topic("revoked", "authorization_revoked"), "consent", "the consent was taken back"],
    [topic("revoked", "moderator_removed"), "consent", "the consent was taken back"],
    [topic("absent", "limited"), "limited", null],
    [topic("revoked", "notification_failures_exceeded"), "stopped", "Twitch could not deliver it for a while"],
    [topic("failed", "something_new"), "stopped", "something new"],
    [topic("failed", "constructor"), "stopped", "constructor"],
    [topic("failed"), "stopped", null],
  ] as const)("of %j is %s", (given, standing, reason) => {
    expect(standingOf(given)).toBe(standing);
    expect(why(given)).toBe(reason);
  });

  test("sorts the topics, and knows no empty group", () => {
    const follows = topic("absent", "consent_required");
    const online = topic("enabled", null, "stream.online");
    expect(byStanding([follows, online])).toEqual([
      { standing: "live", topics: [online] },
      { standing: "consent", topics: [follows] },
    ]);
    expect(byStanding([])).toEqual([]);
  });
});

describe("the list of topics", () => {
  function list(topics: Topic[]) {
    const session = { signIn: vi.fn(() => Promise.resolve()) };
    const wrapper = mount(ChannelTopics, {
      props: { login: "marlowe", name: "<b>Marlowe</b>", topics },
      global: { provide: { [sessionKey as symbol]: session } },
    });
    return { wrapper, session };
  }

  const testid = (name: string): string => `[data-testid="${name}"]`;

  test("changes as soon as the topics do", async () => {
    const { wrapper } = list([topic("absent", "consent_required")]);
    expect(wrapper.get(testid("topics")).attributes("data-standing")).toBe("consent");
    await wrapper.setProps({ topics: [topic("enabled")] });
    expect(wrapper.findAll(testid("topics")).map((group) => group.attributes("data-standing"))).toEqual(["live"]);
    expect(wrapper.find(testid("sign-in-streamer")).exists()).toBe(false);
  });

  test("says whose consent is missing, and lets the streamer sign in for it", async () => {
    const { wrapper, session } = list([topic("absent", "consent_required")]);
    expect(wrapper.get("bdi").text()).toBe("<b>Marlowe</b>");
    await wrapper.get(testid("sign-in-streamer")).trigger("click");
    expect(session.signIn).toHaveBeenCalledWith("marlowe", "streamer");
  });

  test("says when that sign-in cannot be started", async () => {
    const { wrapper, session } = list([topic("absent", "consent_required")]);
    vi.spyOn(console, "error").mockReturnValue();
    session.signIn.mockRejectedValue(new Error("no crypto"));
    await wrapper.get(testid("sign-in-streamer")).trigger("click");
    await flushPromises();
    expect(wrapper.get(testid("error")).text()).toContain("try again");
    expect(wrapper.get(testid("sign-in-streamer")).attributes("disabled")).toBeUndefined();
  });

  test("explains what is limited", () => {
    const { wrapper } = list([topic("absent", "limited", "channel.raid")]);
    expect(wrapper.get(testid("topics")).text()).toContain("when there is room");
  });

  test("says nothing before it knows anything", () => {
    expect(list([]).wrapper.find("section").exists()).toBe(false);
  });
});
