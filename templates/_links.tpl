% # One's own share links, each with a button that ends it. `named` says whether each names what it shows.
<ul class="plain">
% for one in lines:
  <li>\\
%   if named:
<a href="{{one.href}}"><bdi>{{one.name}}</bdi></a>\\
%     if one.asked:
 <span class="note">{{t("links.filtered")}}</span>\\
%     end
, \\
%   end
{{t("links.since", at=one.created_at)}}, {{t("links.until", at=one.expires_at) if one.expires_at else t("links.endless")}}
    <span class="note">{{t("links.may_create") + t("common.comma") if one.takes_files else ""}}{{t("links.used", n=one.uses, at=one.used_at) if one.used_at else t("links.unused")}}{{t("common.comma") + t("links.has_password") if one.has_password else ""}}</span>
    <form method="post" action="{{action}}">
% include('_token.tpl')
      <input type="hidden" name="do" value="{{do}}"><input type="hidden" name="id" value="{{one.id}}">
      <button class="button small" aria-label="{{t("links.end_label", name=one.name, since=one.created_at)}}">{{t("sessions.end")}}</button>
    </form>
  </li>
% end
</ul>
