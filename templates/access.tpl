% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("admin.access_note")}}. {{t("access.note")}}</p></div>
</div>
% include('_errors.tpl')
<form class="filter" method="get" action="{{page.action}}" role="search">
% for field in page.params:
%   if field.name == "who":
%     field.attrs = {"list": "known"}
%     field.help = ""
%   end
%   include('_field.tpl', field=field)
% end
  <datalist id="known">
% for name in page.known:
    <option value="{{name}}"></option>
% end
  </datalist>
  <button class="button">{{t("table.show")}}</button>
% if page.asked:
  <a class="button" href="{{page.action}}">{{t("table.clear")}}</a>
% end
</form>
% if page.answer:
<div class="notice {{'good' if page.answer[0] else 'bad'}}" role="status"><p>{{page.answer[1]}}</p></div>
% end
% if page.lines:
<ul class="rows">
%   for line in page.lines:
  <li class="two">
    <div class="main">\\
%     if line.kind == "everybody":
{{t("access.everybody")}}\\
%     elif line.kind == "token":
<a href="{{line.href}}"><bdi>{{line.label or t("access.token")}}</bdi></a><p class="note">{{!t.html("token.in_name_of", name=line.name or line.subject)}}</p>\\
%     else:
<a href="{{line.href}}"><bdi>{{line.name or line.subject}}</bdi></a>
%       if line.name:
<p class="note"><bdi>{{line.subject}}</bdi></p>\\
%       end
%     end
</div>
    <ul class="plain">
%     for one in line.grants:
      <li><bdi>{{one.words}}</bdi> <span class="note">\\
%       if one.role:
{{t("access.by_role", role=one.role)}} \\
%       end
<code>{{one.grant}}</code>\\
%       if one.limit:
, {{t("access.within", limit=one.limit)}}\\
%       end
</span></li>
%     end
    </ul>
  </li>
%   end
</ul>
% elif not page.errors:
<div class="empty"><p>{{t("access.nobody") if page.asked else page.empty}}</p></div>
% end
% include('_under.tpl')
