-- Requests a new token by setting the annotation. The status repeats the time once the new token is in the Secret.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["qlikcontext.dev/refresh-requested-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
