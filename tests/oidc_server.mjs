// An OpenID Connect provider for tests, on the package oidc-provider: node oidc_server.mjs PACKAGES PORT SITE
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, port, site] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(createRequire(`${packages}/`).resolve("oidc-provider")));
const people = {
  ann: { email: "ann@example.org", email_verified: true, name: "Ann Lee", groups: ["hr-team", "cooks"] },
  bo: { email: "bo@example.org", email_verified: false, name: "Bo Chen", groups: [] },
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "satchel", client_secret: "a-secret-of-this-test", redirect_uris: [`${site}/login/oidc/back`],
    post_logout_redirect_uris: [`${site}/login`],
  }],
  claims: { email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
  scopes: ["openid", "email", "profile", "groups"],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  cookies: { keys: ["a key of this test"] },
});
provider.listen(Number(port), "127.0.0.1");
