// What a program does with @azure-rest/ai-personalizer 1.0.0-beta.1; prints what it met, as JSON.
// usage: node track2.js KEY ENDPOINT...
"use strict";

const { AzureKeyCredential } = require("@azure/core-auth");
const { default: createClient } = require("@azure-rest/ai-personalizer");

const ODD_ID = "ev 4/ä?é";
const SECONDS = 120;
const ACTIONS = [
  { id: "a", features: [{ x: 1 }] },
  { id: "b", features: [{ x: 2 }] },
];

const OPTIONS = { allowInsecureConnection: true }; // the service under test listens on loopback
const day = (offset) => new Date(Date.now() + offset * 86400000).toISOString();

async function evaluate(client) {
  const body = {
    name: "js",
    startTime: day(-1),
    endTime: day(1),
    policies: [{ name: "bold", arguments: "--cb_explore_adf --epsilon 0.4" }],
  };
  const created = await client.path("/evaluations").post({ body, headers: { Location: "" } });
  const id = created.body.id;
  const until = Date.now() + SECONDS * 1000;
  let found = created;
  while (found.body.status === "pending" && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found = await client.path("/evaluations/{evaluationId}", id).get();
  }
  const applied = await client
    .path("/configurations/applyFromEvaluation")
    .post({ body: { evaluationId: id, policyName: "bold" } });
  const after = await client.path("/evaluations/{evaluationId}", id).get();
  const deleted = await client.path("/evaluations/{evaluationId}", id).delete();
  return {
    created: created.status,
    location: created.headers.location.endsWith(id),
    status: found.body.status,
    sources: found.body.policyResults.map((each) => each.policySource),
    applied: applied.status,
    after: after.body.status,
    deleted: deleted.status,
  };
}

async function use(endpoint, key) {
  const client = createClient(endpoint, new AzureKeyCredential(key), OPTIONS);
  const stranger = createClient(endpoint, new AzureKeyCredential("bad"), OPTIONS);
  const ranked = await client
    .path("/rank")
    .post({ body: { actions: ACTIONS, contextFeatures: [{ time: "noon" }], eventId: ODD_ID, deferActivation: true } });
  const id = encodeURIComponent(ODD_ID);
  const rewarded = await client.path("/events/{eventId}/reward", id).post({ body: { value: 1 } });
  const activated = await client.path("/events/{eventId}/activate", id).post();
  const slots = await client.path("/multislot/rank").post({
    body: { actions: ACTIONS, slots: [{ id: "s", baselineAction: "a" }], contextFeatures: [], eventId: "js-slots" },
  });
  const slotReward = await client
    .path("/multislot/events/{eventId}/reward", "js-slots")
    .post({ body: { reward: [{ slotId: "s", value: 1 }] } });
  const slotActivation = await client.path("/multislot/events/{eventId}/activate", "js-slots").post();
  const configuration = await client.path("/configurations/service").get();
  const policy = await client
    .path("/configurations/policy")
    .put({ body: { name: "js", arguments: "--cb_explore_adf --squarecb" } });
  const reset = await client.path("/configurations/policy").delete();
  const refused = await client.path("/rank").post({ body: { actions: [] } });
  const strange = await stranger.path("/rank").post({ body: { actions: ACTIONS } });
  return {
    rank: [ranked.status, ranked.body.eventId],
    statuses: [rewarded, activated, slots, slotReward, slotActivation, configuration, policy, reset].map(
      (each) => each.status,
    ),
    slots: slots.body.slots.map((each) => each.id),
    evaluation: await evaluate(client),
    401: [strange.status, strange.body.error.code],
    400: [refused.status, refused.body.error.code],
  };
}

(async () => {
  const [key, ...endpoints] = process.argv.slice(2);
  const answers = [];
  for (const endpoint of endpoints) answers.push(await use(endpoint, key));
  console.log(JSON.stringify(answers));
})();
