<%
rebase('layout.tpl')
def links(items):
%>
    <ul class="links">
<%
  for item in items:
%>
      <li><a href="{{item.href}}">\\
<%
    if item.sign:
%>
<svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#{{item.sign}}"/></svg>\\
<%
    end
%>
<span><strong><bdi>{{item.title}}</bdi></strong>\\
<%
    if item.note:
%>
 <span class="note"><bdi>{{item.note}}</bdi></span>\\
<%
    end
%>
</span></a>\\
<%
    if item.list_href:
%>
<a class="side" href="{{item.list_href}}" aria-label="{{item.list_of}}">{{item.list}}</a>\\
<%
    end
%>
</li>
<%
  end
%>
    </ul>
<%
end
%>
<h1 class="home"><bdi>{{page.title}}</bdi></h1>
% if page.waiting:
<section class="waiting" aria-labelledby="waiting">
  <h2 id="waiting">{{t("moves.waiting")}}</h2>
%   if page.waiting.late:
  <p class="note" role="status">{{t("moves.waiting_late")}}
%     for number, one in enumerate(page.waiting.late):
{{", " if number else ""}}<a href="{{one.href}}"><bdi>{{one.title}}</bdi></a>\\
%     end
  </p>
%   end
%   for group in page.waiting.groups:
  <ul class="waits">
%     for one in group.items:
    <li>
      <div><span class="pill {{one.badge}}"><bdi>{{one.state}}</bdi></span>
        <a href="{{one.href}}"><bdi>{{one.title}}</bdi></a>
        <span class="note">{{!t.html("moves.waiting_since", title=group.title, at=one.since)}}</span></div>
      {{!one.move}}
    </li>
%     end
  </ul>
%     if group.more_href:
  <p class="more-hits"><a href="{{group.more_href}}">{{!t.html("moves.waiting_all", title=group.title)}}</a></p>
%     end
%   end
</section>
% end
% if page.apps:
<h2 class="visually-hidden">{{t("home.applications")}}</h2>
<ul class="apps">
%   for app in page.apps:
  <li>
    <a class="card" href="{{url(app.address)}}">
      <span class="tile" aria-hidden="true">{{app.icon or app.title[:1].upper()}}</span>
      <span class="card-text"><strong><bdi>{{app.title}}</bdi></strong>
%     if app.note:
      <span class="note">{{app.note}}</span>
%     end
      </span>
    </a>
  </li>
%   end
</ul>
% end
% if page.groups:
<div class="{{'index' if page.is_index else 'groups'}}">
%   for group in page.groups:
  <section>
%     if group.href:
    <h2><a href="{{group.href}}"><bdi>{{group.title}}</bdi></a></h2>
%     elif group.title:
    <h2>{{group.title}}</h2>
%     end
%     links(group.items)
%     if group.rest:
    <details class="fold"><summary>{{t("home.folded", n=len(group.rest))}}</summary>
%       links(group.rest)
    </details>
%     end
  </section>
%   end
</div>
% end
% if page.sign_in:
<div class="empty">
%   if page.apps or page.groups:
  <p>{{t("home.signed_out_more")}}</p>
%   else:
  <p>{{t("home.signed_out_nothing")}}</p>
%   end
  <p><a class="button solid" href="{{url('login')}}">{{t("common.sign_in")}}</a></p>
</div>
% elif not page.apps and not page.groups:
<div class="empty">
  <p><strong>{{t("home.nothing")}}</strong></p>
  <p>{{!t.html("home.ask", contact=contact or t("common.operator"))}}</p>
</div>
% end
