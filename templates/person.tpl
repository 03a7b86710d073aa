% rebase('layout.tpl')
<div class="head">
  <h1><bdi>{{page.title}}</bdi></h1>
% if page.reached:
  <div class="tools">
%   if page.may_link and not page.suspended:
    <form method="post" action="{{page.link_action}}">
% include('_token.tpl')
      <button class="button">{{t("person.new_link")}}</button>
    </form>
%   end
%   if page.edit_href:
    <a class="button" href="{{page.edit_href}}">{{t("record.edit")}}</a>
%   end
%   if page.delete_action:
%     include('_delete.tpl', action=page.delete_action, what=page.title)
%   end
  </div>
% end
</div>
% if page.suspended:
<div class="notice bad"><p>{{t("person.suspended")}}</p></div>
% end
% include('_facts.tpl', fields=page.fields)
% if page.sessions is not None:
<section>
  <h2>{{t("me.signed_in")}}</h2>
% if page.sessions:
  <ul class="plain">
%   for one in page.sessions:
    <li>{{t("me.since_seen", since=one.created_at, seen=one.used_at) if one.used_at else t("me.since", since=one.created_at)}}</li>
%   end
  </ul>
%   if page.may_link and page.reached:
  <form method="post" action="{{page.out_action}}">
% include('_token.tpl')
    <button class="button small">{{t("person.sign_out")}}</button>
  </form>
%   end
% else:
  <p class="note">{{t("person.nowhere")}}</p>
% end
</section>
% end
% if page.tokens:
<section>
  <h2>{{t("me.tokens")}}</h2>
  <ul class="plain">
%   for one in page.tokens:
    <li><bdi>{{one.text or t("me.no_label")}}</bdi> <span class="note">{{t("person.token_used", since=one.issued_at, until=one.expires_at, used=one.used_at) if one.used_at else t("person.token_unused", since=one.issued_at, until=one.expires_at)}}</span></li>
%   end
  </ul>
</section>
% end
% if page.ways:
<p class="formats">
%   for key, href in page.ways:
  <a href="{{href}}">{{t(key)}}</a>
%   end
</p>
% end
% if page.meta:
<dl class="meta">
%   for item in page.meta:
  <div><dt>{{item.title}}</dt><dd><bdi>{{item.text}}</bdi></dd></div>
%   end
</dl>
% end
<p class="back"><a href="{{page.back_href}}">{{t("record.back")}}</a></p>
