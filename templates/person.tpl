% rebase('layout.tpl')
% include('_crumbs.tpl')
<div class="head">
  <h1><bdi>{{page.title}}</bdi></h1>
% if page.reached:
  <div class="tools">
%   if page.may_link and not page.suspended:
    <form method="post" action="{{page.link_action}}">
% include('_token.tpl')
      <button class="button">New sign-in link</button>
    </form>
%   end
%   if page.edit_href:
    <a class="button" href="{{page.edit_href}}">Edit</a>
%   end
%   if page.delete_action:
%     include('_delete.tpl', action=page.delete_action, what=page.title)
%   end
  </div>
% end
</div>
% if page.suspended:
<div class="notice bad"><p>Suspended: cannot sign in, and no token works. To let this person in again, press Edit and take the mark away.</p></div>
% end
% include('_facts.tpl', fields=page.fields)
<section>
  <h2>Signed in</h2>
% if page.sessions:
  <ul class="plain">
%   for one in page.sessions:
    <li>since {{one.created_at}}{{", last seen " + one.used_at if one.used_at else ""}}</li>
%   end
  </ul>
%   if page.may_link and page.reached:
  <form method="post" action="{{page.out_action}}">
% include('_token.tpl')
    <button class="button small">Sign out everywhere</button>
  </form>
%   end
% else:
  <p class="note">Nowhere at the moment.</p>
% end
</section>
% if page.tokens:
<section>
  <h2>Tokens</h2>
  <ul class="plain">
%   for one in page.tokens:
    <li><bdi>{{one.text or "without a label"}}</bdi> <span class="note">since {{one.issued_at}}, until {{one.expires_at}}{{", last used " + one.used_at if one.used_at else ", never used"}}</span></li>
%   end
  </ul>
</section>
% end
% if page.meta:
<dl class="meta">
%   for item in page.meta:
  <div><dt>{{item.title}}</dt><dd><bdi>{{item.text}}</bdi></dd></div>
%   end
</dl>
% end
<p class="back"><a href="{{page.back_href}}">← Back to the list</a></p>
