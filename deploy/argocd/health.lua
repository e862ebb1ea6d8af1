-- Health of a QlikContext or a QlikOAuthClient for Argo CD: resource.customizations.health.qlikcontext.dev_QlikContext in
-- argocd-cm, and the same for QlikOAuthClient.
-- The generation is checked first, because a condition of an older spec does not apply to the current one.
local health = {status = "Progressing", message = "Waiting for qlik-context-operator"}
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = "spec.suspend is true"}
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = condition.message}
  end
  if condition.type == "Ready" then
    health.message = condition.message
    if condition.status == "True" then
      health.status = "Healthy"
    end
  end
end
return health
