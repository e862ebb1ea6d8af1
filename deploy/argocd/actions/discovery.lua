-- What a person can do with a QlikContext in Argo CD. A suspended one would let the request wait.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
return {
  refresh = {disabled = suspended, displayName = "Refresh token", iconClass = "fa fa-fw fa-sync"}
}
