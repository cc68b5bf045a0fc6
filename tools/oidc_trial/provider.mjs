// An OpenID provider on this machine: `node provider.mjs settings.json`. Settings: port, key and certificate (files), jwks (private
// keys), client (id, secret), lifetime_s. Its access tokens are JWTs for whatever resource a client asks for, with a claim `team`.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Provider from "oidc-provider";

const settings = JSON.parse(readFileSync(process.argv[2]));
const provider = new Provider(`https://localhost:${settings.port}`, {
  jwks: settings.jwks,
  clients: [
    {
      client_id: settings.client.id,
      client_secret: settings.client.secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  ttl: { ClientCredentials: settings.lifetime_s },
  extraTokenClaims: () => ({ team: settings.team }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: "ingrain:read ingrain:write",
        audience: resource.replace("https://", ""),
        accessTokenFormat: "jwt",
        accessTokenTTL: settings.lifetime_s,
        jwt: { sign: { alg: settings.jwks.keys[0].alg } },
      }),
    },
  },
});
const tls = { key: readFileSync(settings.key), cert: readFileSync(settings.certificate) };
createServer(tls, provider.callback()).listen(settings.port, "127.0.0.1", () => console.log("listening"));
