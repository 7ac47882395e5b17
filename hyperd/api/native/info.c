/* GET /hyper/v1/info */
#include "base/json.h"
#include "hyperd/api/api.h"

int native_info(struct http_request *request, struct error *err)
{
	struct engine *engine = api_engine(request);
	struct networks *networks = engine_networks(engine);
	json_t *network =
		networks ? json_pack("{s:s,s:s}", "backend", networks_backend_name(networks),
				     "reason", networks_backend_reason(networks))
			 : json_null();

	return http_respond_json(request, 200,
				 json_pack("{s:s,s:o,s:o,s:o}", "Version", HYPER_VERSION, "Network",
					   network, "Engine", engine_info(engine), "Sandbox",
					   sandbox_factory_info(engine_sandboxes(engine))));
}
