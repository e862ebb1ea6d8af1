-- The actions for a QlikContext in Argo CD. A suspended context would not handle the request.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
return {
  refresh = {disabled = suspended, displayName = "Refresh token", iconClass = "fa fa-fw fa-sync"}
}
